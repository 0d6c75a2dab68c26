"""Servers of databases, for what is asked of them."""

from servers import mysql

__all__ = ["mysql"]
