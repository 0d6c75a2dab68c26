"""Clearwell: the trustworthy record of what happened to money, and the proof that it is right."""

__version__ = "0.1.0"
