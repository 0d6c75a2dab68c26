"""Learned windows in the catalog: a fit is appended when a person accepts it, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, insert, select

from clearwell.catalog.tables import learned_windows


@dataclass(frozen=True)
class LearnedWindow:
    """The window of an account type, accepted at `fitted_at`, from its episodes at a cut (ISO 8601 texts in UTC).

    `quantile` and `headroom` are exact decimals. `episode_count` counts those that were open at the cut too.
    """

    fitted_at: str
    account_type: str
    known_sequence: int
    effective_at: str
    model_version: str
    seconds: int
    quantile: str
    headroom: str
    episode_count: int
    open_count: int


def learned_windows_of(connection: Connection) -> list[LearnedWindow]:
    """Every window that was ever accepted, oldest first."""
    rows = connection.execute(select(learned_windows).order_by(learned_windows.c.fitted_at)).mappings()
    return [LearnedWindow(**row) for row in rows]


def newest_fitted_at(connection: Connection) -> str:
    """When windows were accepted last; empty when none ever were."""
    return connection.execute(select(func.max(learned_windows.c.fitted_at))).scalar_one() or ""


def append_windows(connection: Connection, windows: Sequence[LearnedWindow]) -> None:
    """Keep accepted windows."""
    if windows:
        connection.execute(insert(learned_windows), [asdict(item) for item in windows])


def in_use(windows: Sequence[LearnedWindow], recorded_at: str) -> dict[str, LearnedWindow]:
    """Per account type the newest of `windows`, oldest first, that was accepted by `recorded_at`."""
    return {item.account_type: item for item in windows if item.fitted_at <= recorded_at}
