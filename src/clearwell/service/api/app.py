"""The app: puts the paths together over a service that runs."""

from __future__ import annotations

import threading

from fastapi import FastAPI

from clearwell import __version__
from clearwell.service.api import events, evidence, governing, live, own, problems, quality, questions
from clearwell.service.api.security import Doorman
from clearwell.service.feeds import Feeds
from clearwell.service.running import Service

_DESCRIPTION = """Publish money-movement events, and ask which money is stuck, where, whose, and since when.

Money is in minor units of its currency, in whole numbers. Instants are ISO 8601 in UTC. Every figure says its cut.
"""


def create_app(service: Service) -> FastAPI:
    """The app of a service. It opens and closes nothing."""
    app = FastAPI(title="Clearwell", version=__version__, description=_DESCRIPTION)
    app.state.service = service
    app.state.doorman = Doorman(service.workspace)
    app.state.feeds = Feeds(service.keeper)
    app.state.queries = threading.BoundedSemaphore(service.options.queries)
    problems.add_to(app)
    for module in (events, questions, quality, governing, evidence, own, live):
        app.include_router(module.router)
    return app
