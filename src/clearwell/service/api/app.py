"""The app: puts the paths together over a service that runs."""

from __future__ import annotations

from fastapi import FastAPI

from clearwell import __version__
from clearwell.service.api import audit, events, keys, people, problems, sessions
from clearwell.service.api.security import Doorman
from clearwell.service.identity_provider import provider_of
from clearwell.service.running import Service

_DESCRIPTION = """Publish money-movement events, and ask which money is stuck, where, whose, and since when.

Money is in minor units of its currency, in whole numbers. Instants are ISO 8601 in UTC. Every figure says its cut.
"""


def create_app(service: Service) -> FastAPI:
    """The app of a service. It opens and closes nothing."""
    app = FastAPI(title="Clearwell", version=__version__, description=_DESCRIPTION)
    app.state.service = service
    app.state.doorman = Doorman(service.workspace)
    problems.add_to(app)
    app.state.provider = provider_of(service)
    app.include_router(events.router)
    for module in (keys, people, sessions, audit):
        app.include_router(module.router)
    return app
