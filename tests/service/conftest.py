"""A service that runs in this process over a project of its own, and keys to it."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from clearwell.application.access import Role, make_key
from clearwell.bootstrap import open_producer, open_workspace
from clearwell.service.api.app import create_app
from clearwell.service.running import Service, ServiceOptions, running


@dataclass
class Running:
    """A service with its app, and an administrator's key."""

    service: Service
    app: FastAPI
    key: str

    def key_of(self, role: Role, **properties: str) -> str:
        """A new key of this role; a tenant's is bound to `properties`."""
        name = f"{role} {secrets.token_hex(8)}"
        return make_key(self.service.workspace, name, role, made_by="test", properties=properties or None).secret

    @cached_property
    def tenant_key(self) -> str:
        """A key of business A."""
        return self.key_of("tenant", business="acct_A")

    def client(self, key: str = "") -> TestClient:
        """A client with this key, or the administrator's."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return TestClient(self.app, headers=headers, raise_server_exceptions=False)

    def publish(self, *records: Mapping[str, Any]) -> int:
        """Publish events, and return the last sequence, when it is projected."""
        body = "\n".join(json.dumps(item) for item in records)
        answer = self.client().post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] == len(records), answer.text
        last = int(answer.json()["last_sequence"])
        assert self.service.keeper.reached(last, 10)
        return last

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The address of a server on loopback, for what a test client cannot do."""
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            self.app.state.feeds.end()
            server.should_exit = True
            thread.join()


@contextmanager
def serving(ledger: Any, options: ServiceOptions | None = None) -> Iterator[Running]:
    """The service of a project, until the block ends."""
    chosen = options or ServiceOptions(open_producer=open_producer)
    with open_workspace(ledger.folder) as workspace, running(workspace, chosen) as made:
        key = make_key(workspace, "administrator", "administrator", made_by="test").secret
        yield Running(made, create_app(made), key)


@pytest.fixture
def new_service(new_ledger: Callable[..., Any]) -> Iterator[Callable[..., Running]]:
    """Run services: `new_service(options, **settings)`."""
    with ExitStack() as stack:
        yield lambda options=None, **settings: stack.enter_context(serving(new_ledger(**settings), options))


@pytest.fixture
def service(new_service: Callable[..., Running]) -> Running:
    """A service of the flow of the design, without events."""
    return new_service()
