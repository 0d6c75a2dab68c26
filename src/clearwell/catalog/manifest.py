"""The manifest in the catalog: one row per segment, appended, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select

from clearwell.catalog.tables import segments


def append_segment(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add one row; its keys are the columns of `segments`."""
    connection.execute(insert(segments), [dict(row)])


def segment_rows(connection: Connection) -> list[RowMapping]:
    """Every row, in order of number."""
    return list(connection.execute(select(segments).order_by(segments.c.number)).mappings())
