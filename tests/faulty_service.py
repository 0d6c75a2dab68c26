"""A service that fails as it is told to, for a client's tests: it loses connections, and answers."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

FAULTS = ("reset", "lost", "cut", "busy", "away", "gateway", "full", "under way")
"""`lost` and `cut` come after the events were taken in; the others before."""

_STATUSES = {"busy": 429, "away": 503, "full": 507, "under way": 409}
_CODES = {
    "busy": "too_many_waiting",
    "away": "writer_busy",
    "full": "log_not_writable",
    "under way": "request_under_way",
}


def event(number: int, **changes: Any) -> dict[str, Any]:
    """A `charge.creation` of this number."""
    made = {
        "type": "charge.creation",
        "id": f"evt_{number}",
        "effective_at": "2026-01-02T03:04:05Z",
        "occurred_at": "2026-01-02T03:04:05Z",
        "properties": {"charge": f"ch_{number}", "business": "acct_A", "network": "visa"},
        "amounts": {"gross": {"value": 1000 + number, "currency": "USD"}},
    }
    return {**made, **changes}


@dataclass
class FaultyService:
    """Answers requests by `transport`; each takes the next of `faults`, and none is left when it is `None`.

    Events of type `bad` are refused as records; a request with one of type `forbidden` is refused as a whole.
    """

    faults: Iterable[str | None] = ()
    log: Counter[str] = field(default_factory=Counter)
    requests: list[httpx.Request] = field(default_factory=list)
    status: int = 0
    """Where it is set, every request is refused with it."""

    def __post_init__(self) -> None:
        self._faults = iter(self.faults)
        self._bodies: dict[str, bytes] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = request.read()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        key = request.headers["idempotency-key"]
        fault = next(self._faults, None)
        if self.status:
            return _problem(self.status, "credentials_wrong")
        if fault == "reset":
            raise httpx.ConnectError("connection refused", request=request)
        if fault == "gateway":
            return httpx.Response(502, text="<html>Bad gateway</html>")
        if fault in _STATUSES:
            return _problem(_STATUSES[fault], _CODES[fault], {"Retry-After": "7"} if fault == "busy" else {})
        if self._bodies.setdefault(key, body) != body:
            return _problem(422, "request_key_reused")
        records = [json.loads(line) for line in body.splitlines()]
        if any(item["type"] == "forbidden" for item in records):
            return _problem(403, "event_type_not_allowed")
        answer = self._answers.get(key) or self._taken(records)
        self._answers[key] = answer
        if fault == "lost":
            raise httpx.ReadTimeout("timed out", request=request)
        content = json.dumps(answer).encode()
        return httpx.Response(200, content=content[:-9] if fault == "cut" else content)

    def _taken(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        accepted = duplicates = 0
        refused = []
        for index, item in enumerate(records):
            if item["type"] == "bad":
                why = {"code": "event_type_unknown", "field": "type", "expected": "another", "found": "bad"}
                refused.append({"index": index, **why})
            elif item["id"] in self.log:
                duplicates += 1
            else:
                self.log[item["id"]] += 1
                accepted += 1
        counts = {"accepted": accepted, "duplicates": duplicates, "refused_count": len(refused)}
        return {**counts, "first_sequence": None, "last_sequence": None, "refused": refused}


def _problem(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    content = {"error": {"code": code, "message": f"refused with {code}", "details": []}}
    return httpx.Response(status, json=content, headers=headers)


@dataclass
class Moments:
    """A clock that goes on when somebody sleeps by it, at once; `pauses` has what was asked."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_in_loop(self, seconds: float) -> None:
        self.sleep(seconds)
