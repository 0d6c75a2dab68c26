"""The manifest in the catalog: one row per segment, appended, never changed; and beside it the compactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select

from clearwell.catalog.tables import compactions, segments


def append_segment(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add one row; its keys are the columns of `segments`. Raises IntegrityError when its place is taken."""
    connection.execute(insert(segments), [dict(row)])


def segment_rows(connection: Connection, after: int = 0) -> list[RowMapping]:
    """Every row beyond a number, in order of number."""
    rows = select(segments).where(segments.c.number > after).order_by(segments.c.number)
    return list(connection.execute(rows).mappings())


def append_compaction(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add one row; its keys are the columns of `compactions`. Raises IntegrityError when its place is taken."""
    connection.execute(insert(compactions), [dict(row)])


def compaction_rows(connection: Connection, after: int = 0) -> list[RowMapping]:
    """Every compaction beyond a number, in order of number."""
    rows = select(compactions).where(compactions.c.number > after).order_by(compactions.c.number)
    return list(connection.execute(rows).mappings())


def newest_compaction(connection: Connection) -> int:
    """The number of the newest compaction, 0 before there is any."""
    return connection.execute(select(func.max(compactions.c.number))).scalar_one() or 0


def file_names(connection: Connection) -> set[str]:
    """The names of all files that the log ever committed, with those that compactions have replaced since."""
    return {
        name for table in (segments, compactions) for name in connection.execute(select(table.c.file_name)).scalars()
    }


def file_hashes(connection: Connection) -> dict[str, str]:
    """File name to SHA-256 of all files that the log ever committed, as in every version of the catalog."""
    return {
        name: digest
        for table in (segments, compactions)
        for name, digest in connection.execute(select(table.c.file_name, table.c.file_sha256))
    }


def row_hash(connection: Connection, number: int) -> str:
    """The hash of the row of a segment, empty when there is none; as in every version of the catalog."""
    return connection.execute(select(segments.c.hash).where(segments.c.number == number)).scalar_one_or_none() or ""
