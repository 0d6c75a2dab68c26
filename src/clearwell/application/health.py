"""Whether a service can do its work: has the log, can write it, follows it, and reads the catalog. Tells no secrets."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from clearwell.application.keeping import Keeper
from clearwell.application.publishing import Publisher
from clearwell.application.workspace import Workspace
from clearwell.catalog.lease import is_held
from clearwell.errors import StorageError

MOST_LAG_SECONDS = 60.0
"""Projections further behind are as good as none."""

LEAST_FREE_BYTES = 64 << 20
"""With less room, the next batch may not fit."""


@dataclass(frozen=True)
class Part:
    """One thing that must be so: whether it is, by which code it is not, and what was found."""

    name: str
    ready: bool
    code: str = ""
    message: str = ""


def readiness(workspace: Workspace, publisher: Publisher, keeper: Keeper, *, stopping: bool = False) -> list[Part]:
    """The parts of being ready: `service`, `lease`, `log`, `projections`, `catalog`."""
    catalog, lease = _catalog(workspace)
    return [
        _part("service", "service_stopping" if stopping else "", "the service is stopping"),
        lease,
        _log(workspace, publisher),
        _projections(keeper),
        catalog,
    ]


def _part(name: str, code: str, message: str) -> Part:
    return Part(name, not code, code, message if code else "")


def _catalog(workspace: Workspace) -> tuple[Part, Part]:
    lease = workspace.shared.lease
    try:
        with workspace.catalog.read() as connection:
            held = lease is not None and is_held(connection, lease.lease.fencing_number)
    except StorageError as error:
        unknown = _part("lease", error.code, "the catalog cannot be read")
        return _part("catalog", error.code, "the catalog cannot be read"), unknown
    return _part("catalog", "", ""), _part("lease", "" if held else "writer_lease_lost", "the service has no lease")


def _log(workspace: Workspace, publisher: Publisher) -> Part:
    error = publisher.error
    if error is not None:
        return _part("log", error.code, "nothing can be published at present: see the log of the service")
    try:
        free = shutil.disk_usage(workspace.log_folder).free
    except OSError:
        return _part("log", "log_not_writable", "the log's folder cannot be read")
    return _part("log", "disk_full" if free < LEAST_FREE_BYTES else "", f"{free} bytes are free")


def _projections(keeper: Keeper) -> Part:
    error, lag = keeper.error, keeper.lag()
    if error is not None:
        return _part("projections", error.code, "the projections cannot follow: see the log of the service")
    if not keeper.has_followed:
        return _part("projections", "projections_behind", "the projections have not caught up with the log yet")
    behind = lag.seconds > MOST_LAG_SECONDS
    return _part("projections", "projections_behind" if behind else "", f"{lag.events} events are not in them yet")
