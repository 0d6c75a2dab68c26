"""Seals and the tree's block roots in the catalog: seals are appended, never changed; block roots can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select

from clearwell.catalog.tables import seals, tree_blocks


def newest_seal(connection: Connection) -> RowMapping | None:
    """The row of the newest seal, None before there is any."""
    return connection.execute(select(seals).order_by(seals.c.number.desc()).limit(1)).mappings().first()


def seal_rows(connection: Connection) -> list[RowMapping]:
    """Every seal, in order of number."""
    return list(connection.execute(select(seals).order_by(seals.c.number)).mappings())


def append_seal(connection: Connection, row: Mapping[str, Any], blocks: Mapping[int, str]) -> bool:
    """Add a seal, and the roots (hex) of the blocks that it completes, by position.

    Returns False, and adds nothing, when another seal has taken the place.
    """
    newest = newest_seal(connection)
    if row["number"] != (newest["number"] if newest else 0) + 1:
        return False
    connection.execute(insert(seals), [dict(row)])
    _put_blocks(connection, blocks)
    return True


def block_roots(connection: Connection) -> dict[int, str]:
    """The roots (hex) of the complete blocks, by position."""
    return {row.position: row.hash for row in connection.execute(select(tree_blocks))}


def replace_blocks(connection: Connection, blocks: Mapping[int, str], complete: int) -> None:
    """Put `blocks` in the place of those with their positions; beyond the first `complete` blocks nothing is kept."""
    connection.execute(delete(tree_blocks).where(tree_blocks.c.position >= complete))
    _put_blocks(connection, blocks)


def _put_blocks(connection: Connection, blocks: Mapping[int, str]) -> None:
    if blocks:
        connection.execute(delete(tree_blocks).where(tree_blocks.c.position.between(min(blocks), max(blocks))))
        connection.execute(insert(tree_blocks), [{"position": place, "hash": root} for place, root in blocks.items()])
