"""Producers' records in every database and kind of file: one suite, the same answers everywhere."""

from __future__ import annotations

from typing import Any

Row = tuple[Any, ...]
KINDS = ("sqlite", "parquet", "csv", "postgresql", "mysql")
DATABASES = ("sqlite", "postgresql", "mysql")
QUERY = "SELECT id, amount, currency, time FROM charges"
