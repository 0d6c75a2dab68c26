"""Alembic's scripts: the catalog's history, applied on opening."""
