"""Services that run in this process over projects of their own, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from served import Asked, Running, serving

from clearwell.application.access import make_key
from clearwell.service.api.app import create_app
from clearwell.service.running import ServiceOptions, running

if TYPE_CHECKING:
    from conftest import Ledger


@pytest.fixture
def new_service(new_ledger: Callable[..., Any]) -> Iterator[Callable[..., Running]]:
    """Run services: `new_service(options, **settings)`."""
    with ExitStack() as stack:
        yield lambda options=None, **settings: stack.enter_context(serving(new_ledger(**settings), options))


@pytest.fixture
def open_service(new_service: Callable[..., Running]) -> Running:
    """A service of the flow of the design, without events."""
    return new_service()


NewService = Callable[..., Asked]


@pytest.fixture
def service(ledger: Ledger) -> Iterator[Asked]:
    """A service over the flow of the design, whose clock stands still."""
    with ledger.open() as workspace, running(workspace, ServiceOptions()) as service:
        made = make_key(workspace, "administrator", "administrator", made_by="first start")
        yield Asked(service, create_app(service), made, ledger.clock)
