"""Clearwell: the trustworthy record of what happened to money, and the proof that it is right.

    import clearwell

    with clearwell.open_project("shop") as project:
        project.ingest("events/first.ndjson")
        for account in project.open_accounts(state="overdue").accounts:
            print(account["properties"], account["balance"])

What is named here is the public door; it is imported when first used, so that `import clearwell` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearwell.application.questions import OpenFilter, OpenReport, StatusReport
    from clearwell.client.aio import AsyncClient
    from clearwell.client.blocking import Client
    from clearwell.client.events import Event, Money
    from clearwell.errors import ClearwellError, DataError, StorageError, UsageError
    from clearwell.ingest.door import Receipt
    from clearwell.project import Project, open_project, restore_project
    from clearwell.values.cuts import Cut

# Polars gives memory back to the system and asks for it again with every batch, large pieces at once; that takes a
# quarter of the time of an ingest. Read when Polars is first imported; whoever has set it knows better.
os.environ.setdefault(
    "_RJEM_MALLOC_CONF",
    f"oversize_threshold:0,narenas:{max(1, (os.cpu_count() or 1) // 2)},dirty_decay_ms:1000,muzzy_decay_ms:1000",
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "ClearwellError",
    "Client",
    "Cut",
    "DataError",
    "Event",
    "Money",
    "OpenFilter",
    "OpenReport",
    "Project",
    "Receipt",
    "StatusReport",
    "StorageError",
    "UsageError",
    "__version__",
    "open_project",
    "restore_project",
]

_HOMES = {
    "AsyncClient": "clearwell.client.aio",
    "ClearwellError": "clearwell.errors",
    "Client": "clearwell.client.blocking",
    "Cut": "clearwell.values.cuts",
    "DataError": "clearwell.errors",
    "Event": "clearwell.client.events",
    "Money": "clearwell.client.events",
    "OpenFilter": "clearwell.application.questions",
    "OpenReport": "clearwell.application.questions",
    "Project": "clearwell.project",
    "Receipt": "clearwell.ingest.door",
    "StatusReport": "clearwell.application.questions",
    "StorageError": "clearwell.errors",
    "UsageError": "clearwell.errors",
    "open_project": "clearwell.project",
    "restore_project": "clearwell.project",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clearwell' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
