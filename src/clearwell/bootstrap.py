"""Opens a project: the only place that picks the storage, the clock and the folder.

It imports little, for every command pays for it; `project`, the Python API, imports everything.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.settings import catalog_url, read_settings
from clearwell.values.actors import Actor

if TYPE_CHECKING:
    import duckdb

    from clearwell.application import restoring
    from clearwell.application.comparing import Asked, Producer
    from clearwell.quality.running import Engine, LogAtCut
    from clearwell.service.serving import ServeOptions


SWITCH_SECONDS = 0.0005
"""So soon a thread of the service that waits for Python gets it. Committing asks for it dozens of times, after work
that needs none, and would wait 5 ms each time behind the reading of requests."""


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def open_workspace(
    folder: Path | str = ".",
    *,
    say: Callable[[str], None] = lambda _notice: None,
    clock: Callable[[], datetime] = _now,
    actor: Actor | None = None,
) -> Iterator[Workspace]:
    """The project in `folder`, open. `say` takes notices for the user, such as of a projection that is rebuilt.

    `actor` is who the audit names for what is changed; without one it gets no entries.
    Raises UsageError when the folder is no project, DataError when its settings are wrong.
    """
    path = Path(folder).resolve()
    settings, url = read_settings(path), catalog_url(os.environ)
    with Workspace(path, settings, clock, say, _engine, url, actor).closing() as workspace:
        yield workspace


def restore(
    source: Path, folder: Path, report: Callable[[int, float], None] = lambda _bytes, _share: None
) -> restoring.Restored:
    """As `application.restoring.restore`, with the catalog where `CLEARWELL_CATALOG_URL` says."""
    from clearwell.application import restoring  # Few commands need it.

    return restoring.restore(source, folder, report, catalog_url(os.environ))


def _engine(name: str, log: LogAtCut, connection: duckdb.DuckDBPyConnection | None) -> Engine:
    """The engine of this name: `duckdb`, or Spark by its address. Raises UsageError for any other, and as they do."""
    if name == "duckdb":
        from clearwell.engines.duckdb import DuckDBEngine  # Each takes a second to import.

        return DuckDBEngine(log, connection)
    from clearwell.engines.spark import SparkEngine
    from clearwell.engines.spark_sessions import EXPECTED, is_address

    if not is_address(name):
        raise UsageError("engine_unknown", f"expected duckdb, {EXPECTED}, found {name!r}")
    return SparkEngine(log, name)


def open_producer(asked: Asked, folder: Path) -> AbstractContextManager[Producer]:
    """A producer's own records, for `application.comparing`."""
    from clearwell.engines import producers  # Few commands need it.

    return producers.open_producer(asked, folder)


def serve(folder: Path | str, options: ServeOptions, *, say: Callable[[str], None]) -> None:
    """Run the service of the project in `folder` until the process is asked to stop; only in the main thread.

    On the first start an administrator's key is made, and told by `say` once; everything else is logged. Raises as
    `open_workspace`, `running` and `serving.serve` do, and UsageError for options that are not safe.
    """
    from clearwell.application.access import first_key
    from clearwell.application.auditing import on_this_machine
    from clearwell.service import logs, serving
    from clearwell.service.running import ServiceOptions, running

    options.require_safe()
    logs.set_up(options.log_format)
    serving.set_up_traces()
    sys.setswitchinterval(SWITCH_SECONDS)
    signals = serving.Signals()
    service_options = ServiceOptions(
        metrics_need_key=not options.is_loopback,
        open_producer=open_producer,
        oidc_secret=os.environ.get("CLEARWELL_OIDC_SECRET", ""),
    )
    actor = on_this_machine("clearwell serve")
    with (
        open_workspace(folder, say=logs.logger.warning, actor=actor) as workspace,
        running(workspace, service_options) as service,
    ):
        made = first_key(workspace)
        if made is not None:
            say(f"The administrator's key, which is not kept and never told again: {made.secret}")
        gc.collect()
        gc.freeze()  # What is there now stays: it need not be looked through for garbage again.
        serving.serve(service, options, signals)
    logs.log(logging.INFO, "stopped")
