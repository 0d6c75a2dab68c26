"""Rounds of kill -9 against a service under load: clients send again what was not acknowledged, whatever happens to it.

Run as a program of its own, which imports everything once and forks for every act, as `killing` does.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import killing
import uvicorn  # noqa: F401  (Imported before the fork, as everything that is used.)

from clearwell import bootstrap
from clearwell.application import access, keeping, publishing  # noqa: F401
from clearwell.bootstrap import open_workspace
from clearwell.service.api import app  # noqa: F401
from clearwell.service.serving import ServeOptions

CLIENTS = 4
KILLS_PER_LEDGER = 6
MOST_EVENTS = 40
UP_SECONDS = 60.0
PAUSE_SECONDS = 0.02
MOST_COMMITS = 8


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def serve(folder: Path, port: int) -> None:
    """Run the service in this process, until it is asked to stop."""
    with (folder / "serve.log").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 2)
        options = ServeOptions(port=port)
        bootstrap.serve(folder, options, say=lambda notice: print(notice, file=sys.stderr, flush=True))


@dataclass
class Client:
    """Publishes requests one after the other, each until it is acknowledged. `number` keeps its ids apart."""

    port: int
    secret: str
    number: int
    acknowledged: list[str] = field(default_factory=list)
    resent: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, ended: threading.Event, seed: int) -> None:
        chance, request = random.Random(seed), 0
        while not ended.is_set() and not self.wrong:
            request += 1
            records = [self._event(request, place) for place in range(chance.randint(1, MOST_EVENTS))]
            if self.acknowledged and chance.random() < 0.2:
                records.append(self._named(chance.choice(self.acknowledged)))
            key = f"{self.number}-{request}" if chance.random() < 0.5 else ""
            query = "?atomic=true" if chance.random() < 0.2 else ""
            if (answer := self._published(records, key, query)) is None:
                return
            if answer["refused_count"] or answer["accepted"] + answer["duplicates"] != len(records):
                self.wrong.append(f"{records} gave {answer}")
            self.acknowledged += [item["id"] for item in records]

    def _published(self, records: list[dict[str, Any]], key: str, query: str) -> dict[str, Any] | None:
        body = b"".join(json.dumps(item).encode() + b"\n" for item in records)
        headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/x-ndjson"}
        headers |= {"Idempotency-Key": key} if key else {}
        until = time.monotonic() + killing.STUCK_SECONDS
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=UP_SECONDS)
            try:
                connection.request("POST", f"/v1/events{query}", body, headers)
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    answer: dict[str, Any] = json.loads(content)
                    return answer
                if response.status not in {409, 429, 503}:
                    self.wrong.append(f"{response.status}: {content!r}")
                    return None
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            self.resent += 1
            time.sleep(PAUSE_SECONDS)
        self.wrong.append("nothing was acknowledged for long")
        return None

    def _event(self, request: int, place: int) -> dict[str, Any]:
        return self._named(f"c-{self.number}-{request}-{place}")

    @staticmethod
    def _named(name: str) -> dict[str, Any]:
        return {
            "type": "charge.creation",
            "id": name,
            "effective_at": "2026-01-02T03:00:05Z",
            "occurred_at": "2026-01-02T03:00:05Z",
            "currency": "USD",
            "properties": {"charge": name, "business": "acct_A", "network": "visa"},
            "amounts": {"gross": 100},
        }


def put_load(port: int, secret: str, first: int, seed: int, told: int) -> None:
    """Publish until asked to stop; then tell, as a line of JSON to the pipe `told`, what was acknowledged."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    clients = [Client(port, secret, first + place) for place in range(CLIENTS)]
    threads = [
        threading.Thread(target=client.run, args=(ended, seed + place), daemon=True)
        for place, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(PAUSE_SECONDS)
    found = {
        "acknowledged": [name for client in clients for name in client.acknowledged],
        "resent": sum(client.resent for client in clients),
        "wrong": [text for client in clients for text in client.wrong],
    }
    with os.fdopen(told, "w") as pipe:
        pipe.write(json.dumps(found) + "\n")


@dataclass
class Rounds:
    """What happened: kills, events that were acknowledged, and requests that were sent again."""

    seed: int
    kills: int = 0
    acknowledged_events: int = 0
    resent: int = 0

    def run(self, home: Path, count: int) -> None:
        """Kill so many services. Raises AssertionError when something is lost, doubled or wrong."""
        chance = random.Random(self.seed)
        while self.kills < count:
            folder = killing.new_ledger(home / str(self.kills))
            self._ledger(folder, chance, min(KILLS_PER_LEDGER, count - self.kills))

    def _ledger(self, folder: Path, chance: random.Random, kills: int) -> None:
        secret, port = _in_child(lambda: _made_key(folder)), free_port()
        reader, writer = os.pipe()
        clients = killing._forked(lambda: put_load(port, secret, self.kills, chance.randrange(1 << 30), writer))
        os.close(writer)
        for _ in range(kills):
            service = killing._forked(lambda: serve(folder, port))
            _wait_until_up(port, service)
            _wait_for_commits(folder, chance.randrange(MOST_COMMITS))
            time.sleep(chance.uniform(0.0, 0.2))
            os.kill(service, signal.SIGKILL)
            os.waitpid(service, 0)
            self.kills += 1
        service = killing._forked(lambda: serve(folder, port))
        _wait_until_up(port, service)
        os.kill(clients, signal.SIGTERM)
        told = json.loads(killing._until(reader, time.monotonic() + killing.STUCK_SECONDS, 1))
        os.close(reader)
        os.waitpid(clients, 0)
        os.kill(service, signal.SIGTERM)
        _, status = os.waitpid(service, 0)
        assert not told["wrong"], told["wrong"]
        assert status in (0, signal.SIGTERM), (
            f"the service ended with {status}: {(folder / 'serve.log').read_text()[-2000:]}"
        )
        self.acknowledged_events += len(told["acknowledged"])
        self.resent += told["resent"]
        names = sorted(set(told["acknowledged"]))
        if not killing._succeeds(lambda: killing.check(folder, names)):
            raise AssertionError(f"after {self.kills} kills, seed {self.seed}: see above")


def _made_key(folder: Path) -> str:
    with open_workspace(folder) as workspace:
        return access.make_key(workspace, "load", "producer", made_by="test").secret


def _in_child(act: Callable[[], str]) -> str:
    """What `act` returns in a process of its own."""
    reader, writer = os.pipe()

    def tell() -> None:
        os.write(writer, act().encode() + b"\n")

    child = killing._forked(tell)
    os.close(writer)
    told = killing._until(reader, time.monotonic() + killing.STUCK_SECONDS, 1)
    os.close(reader)
    os.waitpid(child, 0)
    return told.decode().strip()


def _wait_until_up(port: int, service: int) -> None:
    until = time.monotonic() + UP_SECONDS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert os.waitpid(service, os.WNOHANG)[0] == 0, "the service ended by itself"
            time.sleep(PAUSE_SECONDS)
        else:
            return
    raise AssertionError("the service did not start")


def _wait_for_commits(folder: Path, more: int) -> None:
    """Wait until the log has so many more files."""
    log, until = folder / "data" / "log", time.monotonic() + UP_SECONDS
    wanted = len(list(log.glob("segment-*"))) + more
    while len(list(log.glob("segment-*"))) < wanted and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)


def main(seed: str, count: str, home: str) -> None:
    """Do the rounds, and print what happened as JSON."""
    done = Rounds(int(seed))
    done.run(Path(home), int(count))
    print(json.dumps({"kills": done.kills, "acknowledged_events": done.acknowledged_events, "resent": done.resent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
