"""The description of the API is complete, and true: whatever it allows is answered as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import Running, serving

from clearwell.service.api.app import create_app
from clearwell.service.running import ServiceOptions
from clearwell.service.stopping import Stopping
from clearwell.settings import Settings

EXAMPLES = 6
"""Per path and method; seeded, so that a run is like any other."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPEN = {"/v1/session", "/v1/session/oidc", "/v1/session/oidc/callback"}
"""Where somebody shows who they are."""

MEANT = ("200", "201", "202", "204", "302")
"""The statuses of answers as they are meant; each path has one."""

STREAMS = {"/v1/live", "/v1/own/live"}
"""Without an end. `test_live` listens to them."""


@pytest.fixture(scope="module")
def open_door(new_ledger: Callable[..., Any], creation: Callable[..., Any], release: Any) -> Iterator[Running]:
    """A service with three events, to be asked anything."""
    with serving(new_ledger(), ServiceOptions(query_seconds=2.0)) as running:
        other = creation(id="evt_3", properties={"charge": "ch_2", "business": "acct_B", "network": "visa"})
        running.publish(creation(), release(), other)
        yield running


def _operations(app: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, item) for path, methods in app.openapi()["paths"].items() for method, item in methods.items()
    ]


def test_every_path_is_described(open_door: Running) -> None:
    """Each has a summary, a description, an example of its answer, who may ask, and its problems."""
    for method, path, item in _operations(open_door.app):
        if not path.startswith("/v1/"):
            continue
        where = f"{method} {path}"
        assert item.get("summary"), where
        assert item.get("description"), where
        assert item.get("security") or path in OPEN, where
        assert {"400", "401", "403", "503"} <= set(item["responses"]), where
        for parameter in item.get("parameters", []):
            assert parameter.get("description"), f"{where}: {parameter['name']}"
        (meant,) = [
            item["responses"][status] for status in ("200", "201", "202", "204", "302") if status in item["responses"]
        ]
        for content in meant.get("content", {}).items():
            assert content[0] == "application/vnd.apache.arrow.stream" or "example" in content[1], where


_UNSERVED = create_app(
    SimpleNamespace(
        workspace=SimpleNamespace(settings=Settings()), keeper=None, options=ServiceOptions(), stopping=Stopping()
    )
)
"""The app of no service, for its description."""

ASKED = [(method.upper(), path) for method, path, _ in _operations(_UNSERVED) if path not in STREAMS]


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_every_path_answers_as_described(open_door: Running, method: str, path: str) -> None:
    """No server error, no status, form or member that the description does not have, for who may ask."""
    key = open_door.tenant_key if path.startswith("/v1/own/") else open_door.key
    schema = schemathesis.openapi.from_asgi("/openapi.json", open_door.app)

    @seed(20260102)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)

    ask()
