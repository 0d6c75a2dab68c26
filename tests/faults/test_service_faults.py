"""What a service survives beside being killed: a full disk under load, and clients that are slow or malicious."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import prove
from test_disk_full import only, small_disk

from clearwell.application import access

if TYPE_CHECKING:
    from conftest import Ledger

Creations = Callable[[int, int], list[dict[str, Any]]]
SECONDS = 60.0
UNPACKED_BYTES = 200 << 20


class Served:
    """A service in a process of its own, and a producer's key to it."""

    def __init__(self, port: int, secret: str) -> None:
        self.port, self.secret = port, secret

    def publish(self, records: list[dict[str, Any]] | bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Publish once: the status, and the answer."""
        body = records if isinstance(records, bytes) else b"\n".join(json.dumps(item).encode() for item in records)
        own = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/x-ndjson"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("POST", "/v1/events", body, own | headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@contextmanager
def served(ledger: Ledger) -> Iterator[Served]:
    """The service of a project, until the block ends; it has to stop by itself when it is asked to."""
    with ledger.open() as workspace:
        secret = access.make_key(workspace, "shop", "producer", made_by="test").secret
    command = [sys.executable, "-m", "clearwell", "serve", "--project", str(ledger.folder), "--port", "0"]
    with (ledger.folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ | {"CLEARWELL_CATALOG_URL": ""})
        try:
            yield Served(_port(ledger, process), secret)
            process.terminate()
            assert process.wait(SECONDS) == 0, (ledger.folder / "serve.log").read_text()
        finally:
            process.kill()


def _port(ledger: Ledger, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            return int(json.loads((ledger.data / "service.json").read_text())["port"])
        except (OSError, ValueError):
            time.sleep(0.05)
    raise AssertionError((ledger.folder / "serve.log").read_text())


@pytest.mark.fault("The disk is full while events are published to a service")
def test_a_full_disk_under_load(ledger: Ledger, creations: Creations) -> None:
    """It refuses with 507 and goes on by itself when there is room; what was acknowledged is there once."""
    acknowledged: list[str] = []
    with small_disk(ledger.data), served(ledger) as service:

        def publish(first: int) -> int:
            records = creations(first, 400)
            for record in records:
                record["properties"]["note"] = os.urandom(100).hex()
            status, answer = service.publish(records)
            if status == 200:
                assert answer["accepted"] + answer["duplicates"] == len(records)
                acknowledged.extend(item["id"] for item in records)
            return status

        assert publish(0) == 200
        refused = []
        with only(ledger, 8):
            for number in range(1, 40):
                if (status := publish(1_000 * number)) != 200:
                    refused.append(status)
                if len(refused) >= 5:
                    break
        assert 507 in refused, refused
        assert set(refused) <= {503, 507}, refused
        until = time.monotonic() + SECONDS
        while publish(500_000) != 200:
            assert time.monotonic() < until, "publishing did not go on"
            time.sleep(0.1)
        assert publish(600_000) == 200
        prove_running(ledger, acknowledged)


def prove_running(ledger: Ledger, acknowledged: list[str]) -> None:
    """Every acknowledged event is in the log once, as a process reads it that has nothing to do with the service."""
    with ledger.open() as workspace:
        found = [name for _, frame in workspace.log().after(0, ["id"]) for name in frame["id"]]
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def _drip(port: int, ended: threading.Event) -> None:
    """Send a head that never ends, a byte at a time."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\n")
        while not ended.wait(0.2):
            try:
                line.sendall(b"X")
            except OSError:
                return


def _hold_back(port: int, secret: str, ended: threading.Event) -> None:
    """Announce a body, and send it a byte at a time."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: 100000\r\n"
        line.sendall(head.encode() + b"Content-Type: application/x-ndjson\r\n\r\n")
        while not ended.wait(0.2):
            try:
                line.sendall(b"{")
            except OSError:
                return


@pytest.mark.fault("Two hundred clients of a service that send a byte at a time, heads and bodies")
def test_slow_clients_stop_nobody(ledger: Ledger, creations: Creations) -> None:
    """Others publish meanwhile, each acknowledged; and the service stops when it is asked to."""
    ended = threading.Event()
    with served(ledger) as service:
        slow = [threading.Thread(target=_drip, args=(service.port, ended)) for _ in range(100)]
        held = (service.port, service.secret, ended)
        slow += [threading.Thread(target=_hold_back, args=held) for _ in range(100)]
        for thread in slow:
            thread.start()
        try:
            for number in range(20):
                assert service.publish(creations(10 * number, 10))[0] == 200
        finally:
            ended.set()
            for thread in slow:
                thread.join()
    prove(ledger, [item["id"] for number in range(20) for item in creations(10 * number, 10)])


def _bombs(good: bytes) -> dict[str, tuple[bytes, dict[str, str], set[int]]]:
    whole = gzip.compress(good)
    flat = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = flat.compress(b"\n" * UNPACKED_BYTES) + flat.flush()
    packed = {"Content-Encoding": "gzip"}
    return {
        "broken gzip": (whole[:-20], packed, {422}),
        "garbled gzip": (whole[:30] + b"\0\0\0\0" + whole[34:], packed, {422}),
        "a bomb": (bomb, packed, {413}),
        "no zstd": (good, {"Content-Encoding": "zstd"}, {422}),
        "an unknown encoding": (good, {"Content-Encoding": "br"}, {415}),
        "no Arrow": (b"ARROW1\0\0" + good, {"Content-Type": "application/vnd.apache.arrow.stream"}, {422}),
        "no JSON": (b"[" * 100_000, {"Content-Type": "application/json"}, {422}),
        "nothing": (b"", {}, {422}),
        "a form nobody knows": (good, {"Content-Type": "text/html"}, {415}),
        "a key nobody has": (good, {"Authorization": "Bearer cw_x"}, {401}),
    }


@pytest.mark.fault("Bodies that are broken, garbled, bombs, or none, sent to a service beside sound ones")
def test_malicious_bodies_stop_nobody(ledger: Ledger, creations: Creations) -> None:
    """Each is refused by name with its own status; the sound request after it is acknowledged."""
    good = b"\n".join(json.dumps(item).encode() for item in creations(0, 50))
    with served(ledger) as service:
        for number, (name, (body, headers, statuses)) in enumerate(_bombs(good).items()):
            status, answer = service.publish(body, **headers)
            assert status in statuses, (name, status, answer)
            assert answer["error"]["code"], name
            assert service.publish(creations(100 * (number + 1), 10))[0] == 200, name
        with pytest.raises(OSError, match=r"."):
            _send_too_much(service)
        assert service.publish(creations(5_000, 10))[0] == 200
    sent = [*range(100, 1_100, 100), 5_000]
    prove(ledger, [item["id"] for first in sent for item in creations(first, 10)])


def _send_too_much(service: Served) -> None:
    """Send more than a request may have, without saying how much; raises OSError as soon as it is cut off."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS) as line:
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.secret}\r\n"
        head += "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        line.sendall(head.encode())
        piece = b"\n" * (1 << 20)
        for _ in range(200):
            line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        answer = line.recv(65_536)
        if b" 413 " in answer.split(b"\r\n", 1)[0]:
            raise ConnectionResetError("refused with 413")
