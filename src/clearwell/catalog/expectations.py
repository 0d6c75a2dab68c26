"""Learned windows in the catalog: a fit is appended when a person accepts it, and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, insert, select

from clearwell.catalog.tables import learned_subdivisions, learned_windows


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


@dataclass(frozen=True)
class LearnedSubdivision:
    """The window of the accounts with one value of a property, accepted with that of their account type."""

    fitted_at: str
    account_type: str
    value: str
    property_name: str
    seconds: int
    episode_count: int
    open_count: int


def learned_subdivisions_of(connection: Connection) -> list[LearnedSubdivision]:
    """Every window of a value that was ever accepted, oldest first."""
    ordered = select(learned_subdivisions).order_by(learned_subdivisions.c.fitted_at, learned_subdivisions.c.value)
    return [LearnedSubdivision(**row) for row in connection.execute(ordered).mappings()]


def of_windows(
    subdivisions: Sequence[LearnedSubdivision], windows: Mapping[str, LearnedWindow]
) -> list[LearnedSubdivision]:
    """Those that were accepted together with one of these windows."""
    return [
        item
        for item in subdivisions
        if item.account_type in windows and windows[item.account_type].fitted_at == item.fitted_at
    ]


def learned_windows_of(connection: Connection) -> list[LearnedWindow]:
    """Every window that was ever accepted, oldest first."""
    rows = connection.execute(select(learned_windows).order_by(learned_windows.c.fitted_at)).mappings()
    return [LearnedWindow(**row) for row in rows]


def newest_fitted_at(connection: Connection) -> str:
    """When windows were accepted last; empty when none ever were."""
    return connection.execute(select(func.max(learned_windows.c.fitted_at))).scalar_one() or ""


def append_windows(
    connection: Connection, windows: Sequence[LearnedWindow], subdivisions: Sequence[LearnedSubdivision] = ()
) -> None:
    """Keep accepted windows."""
    for table, items in ((learned_windows, windows), (learned_subdivisions, subdivisions)):
        if items:
            connection.execute(insert(table), [asdict(item) for item in items])


def in_use(windows: Sequence[LearnedWindow], recorded_at: str) -> dict[str, LearnedWindow]:
    """Per account type the newest of `windows`, oldest first, that was accepted by `recorded_at`."""
    return {item.account_type: item for item in windows if item.fitted_at <= recorded_at}
