"""The app: puts the paths together over a service that runs."""

from __future__ import annotations

import threading

from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp

from clearwell import __version__
from clearwell.service.api import (
    audit,
    events,
    evidence,
    governing,
    incidents,
    jobs,
    keys,
    live,
    operations,
    own,
    people,
    problems,
    quality,
    questions,
    sessions,
)
from clearwell.service.api.security import Doorman, needs
from clearwell.service.api.watching import Watch
from clearwell.service.feeds import Feeds
from clearwell.service.identity_provider import provider_of
from clearwell.service.running import Service

_DESCRIPTION = """Publish money-movement events, and ask which money is stuck, where, whose, and since when.

Money is in minor units of its currency, in whole numbers. Instants are ISO 8601 in UTC. Every figure says its cut.
"""


_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""FastAPI's own spans have the values of queries; `watching` makes ours."""


class _Watched(FastAPI):
    """An app whose outermost layer sees every request, and every answer as it is sent."""

    def build_middleware_stack(self) -> ASGIApp:
        """The layers of the app."""
        return Watch(events.Direct(super().build_middleware_stack()), self.state.service)


def create_app(service: Service) -> FastAPI:
    """The app of a service. It opens and closes nothing."""
    app = _Watched(
        title="Clearwell",
        version=__version__,
        description=_DESCRIPTION,
        telemetry=_NO_TELEMETRY,
        docs_url=None,  # FastAPI's pages run scripts of others, beside sessions of people.
        redoc_url=None,
    )
    app.state.service = service
    app.state.doorman = Doorman(service.workspace)
    app.state.feeds = Feeds(service.keeper)
    app.state.queries = threading.BoundedSemaphore(service.options.queries)
    problems.add_to(app)
    app.state.provider = provider_of(service)
    asked = (questions, quality, evidence, own, live)
    for module in (events, *asked, governing, incidents, jobs, operations, keys, people, sessions, audit):
        app.include_router(module.router)
    may_see = [Depends(needs("read"))] if service.options.metrics_need_key else []
    app.include_router(operations.metrics_router, dependencies=may_see)
    # In a thread: ending waits for who computes a figure just now.
    service.stopping.tell(lambda: threading.Thread(target=app.state.feeds.end, daemon=True).start())
    return app
