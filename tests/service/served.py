"""Services that run in this process over projects of their own, keys to them, and clients that ask them."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from clearwell.application.access import MadeKey, Role, make_key
from clearwell.bootstrap import open_producer, open_workspace
from clearwell.service.api.app import create_app
from clearwell.service.running import Service, ServiceOptions, running

if TYPE_CHECKING:
    from conftest import Clock


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
