"""A service that runs over a project in a scratch folder, and clients that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from clearwell.application.access import MadeKey, Role, make_key
from clearwell.service.api.app import create_app
from clearwell.service.running import Service, ServiceOptions, running

if TYPE_CHECKING:
    from conftest import Clock, Ledger

BASE_URL = "http://localhost:8080"


@dataclass
class Asked:
    """A service, its app, and an administrator's key."""

    service: Service
    app: FastAPI
    administrator: MadeKey
    clock: Clock

    def client(self, secret: str = "", base_url: str = BASE_URL, address: str = "10.0.0.1") -> TestClient:
        """A client that shows this key, or none; every client has cookies of its own."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        found = TestClient(self.app, base_url=base_url, headers=headers, client=(address, 50_000))
        found.headers["user-agent"] = "tests"
        return found

    @property
    def admin(self) -> TestClient:
        return self.client(self.administrator.secret)

    def key(self, role: Role, name: str = "", **wanted: Any) -> str:
        """The secret of a new key."""
        if role == "tenant":
            wanted.setdefault("properties", {"business": "acct_A"})
        return make_key(self.service.workspace, name or f"some {role}", role, made_by="test", **wanted).secret


NewService = Callable[..., Asked]


@pytest.fixture
def service(ledger: Ledger) -> Iterator[Asked]:
    """A service over the flow of the design, whose clock stands still."""
    with ledger.open() as workspace, running(workspace, ServiceOptions()) as service:
        made = make_key(workspace, "administrator", "administrator", made_by="first start")
        yield Asked(service, create_app(service), made, ledger.clock)
