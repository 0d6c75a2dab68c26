"""A service in a process of its own: commands beside it, its stop, and connections that would keep it busy."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from clearwell.service import connections

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
COMMAND = [sys.executable, "-m", "clearwell"]
PATIENCE_SECONDS = 60


@dataclass
class Process:
    """A service that runs, with what it wrote to standard error."""

    popen: subprocess.Popen[str]
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def announced(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "data" / "service.json").read_text(encoding="utf-8"))
        return found

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.announced['port']}"

    @property
    def key(self) -> str:
        (line,) = [line for line in self.said if "never told again" in line]
        return line.split()[-1]

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/x-ndjson"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=PATIENCE_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(PATIENCE_SECONDS)


@contextmanager
def serving(ledger: Ledger, *options: str) -> Iterator[Process]:
    """`clearwell serve` of a project; killed at the end if it still runs."""
    command = [*COMMAND, "serve", "--project", str(ledger.folder), "--port", "0", "--log-format", "json", *options]
    popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    process, ready = Process(popen, ledger.folder), threading.Event()
    assert popen.stderr is not None

    def listen() -> None:
        for line in popen.stderr or ():
            process.said.append(line)
            if "serving at" in line:
                ready.set()
        ready.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        assert popen.poll() is None, process.said
        yield process
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()
        thread.join()
        popen.stderr.close()


@pytest.fixture
def process(ledger: Ledger) -> Iterator[Process]:
    """A service over the flow of the design."""
    with serving(ledger) as found:
        yield found


@pytest.fixture(scope="module")
def standing(new_ledger: NewLedger) -> Iterator[Process]:
    """A service for tests that leave it as it is."""
    with serving(new_ledger()) as found:
        yield found


def run(ledger: Ledger | Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments, "--project", str(ledger.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


@dataclass
class Load:
    """Somebody who publishes without a pause, and remembers what was acknowledged, refused, or left without answer."""

    client: httpx.Client
    creation: Make
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unanswered: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, name: str) -> None:
        number = 0
        while not self.ended.is_set():
            number += 1
            ids = [f"{name}_{number}_{place}" for place in range(5)]
            records = [
                self.creation(id=one, properties={"charge": one, "business": "b", "network": "visa"}) for one in ids
            ]
            try:
                answer = self.client.post("/v1/events", content="\n".join(map(json.dumps, records)))
            except httpx.TransportError:
                self.unanswered += 1
                if self.ended.wait(0.01):
                    return
                continue
            if answer.status_code == 200:
                self.acknowledged += ids
            else:
                self.refused.append(answer.json()["error"]["code"])


@contextmanager
def under_load(process: Process, creation: Make, threads: int = 3) -> Iterator[Load]:
    with process.client() as client:
        load = Load(client, creation)
        running = [threading.Thread(target=load.run, args=(f"t{place}",)) for place in range(threads)]
        for thread in running:
            thread.start()
        try:
            while len(load.acknowledged) < 10:
                time.sleep(0.01)
            yield load
        finally:
            load.ended.set()
            for thread in running:
                thread.join()


def test_commands_ask_while_a_service_is_under_load(
    process: Process, ledger: Ledger, creation: Make, tmp_path: Path
) -> None:
    """Status, quality, trace, backup and verify answer beside a service that takes events in, which goes on."""
    with under_load(process, creation) as load:
        for arguments in (
            ("status", "--json"),
            ("quality", "--json"),
            ("trace", "charge=t0_1_0", "--json"),
            ("verify",),
        ):
            done = run(ledger, *arguments)
            assert done.returncode == 0, (arguments, done.stderr)
        done = run(ledger, "backup", str(tmp_path / "backup"))
        assert done.returncode == 0, done.stderr
    assert (load.refused, load.unanswered) == ([], 0)
    assert process.stop() == 0
    assert run(ledger, "verify").returncode == 0


def test_a_command_that_writes_is_told_where_to_publish(process: Process, ledger: Ledger, creation: Make) -> None:
    """`writer_busy` names the service; its file is for its owner only, and gone when it has stopped."""
    path = ledger.data / "service.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert process.announced["pid"] == process.popen.pid
    events = ledger.write(json.dumps(creation()).encode(), "one.ndjson")
    done = run(ledger, "ingest", str(events), "--json")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (3, "writer_busy")
    assert f"publish to {process.address} instead" in error["message"]
    assert process.stop() == 0
    assert not path.exists()
    assert run(ledger, "ingest", str(events)).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_at_the_stop_is_acknowledged_or_refused(
    process: Process, ledger: Ledger, creation: Make, number: int
) -> None:
    """Stopped under load, the service ends with 0; the log has what was acknowledged, once, and the lease is free."""
    with under_load(process, creation, threads=6) as load:
        assert process.stop(number) == 0
    assert set(load.refused) <= {"service_stopping"}
    with ledger.open() as workspace:
        log = workspace.log()
        ids = [item for file in log.files for item in log.events(file)["id"].to_list()]
    assert set(load.acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))
    assert "stopped" in json.loads(process.said[-1])["message"]
    assert ledger.fault_codes() == set()


def test_a_body_that_is_still_sent_is_refused_at_the_stop(process: Process) -> None:
    """A client that is in the middle of a body gets 503 when the service stops, which does not wait for it."""
    with socket.create_connection(("127.0.0.1", process.announced["port"]), PATIENCE_SECONDS) as connection:
        head = (
            "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100\r\n"
            f"Authorization: Bearer {process.key}\r\n\r\n{{"
        )
        connection.sendall(head.encode())
        with process.client() as client:
            while "clearwell_under_way_requests 2.0" not in client.get("/metrics").text:
                time.sleep(0.01)
        process.popen.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"service_stopping" in answer
    assert process.popen.wait(PATIENCE_SECONDS) == 0


def test_a_second_signal_ends_at_once(process: Process) -> None:
    """While the first stop waits for a connection, a second signal does not."""
    with socket.create_connection(("127.0.0.1", process.announced["port"]), PATIENCE_SECONDS):
        process.popen.send_signal(signal.SIGSTOP)
        process.popen.send_signal(signal.SIGTERM)
        process.popen.send_signal(signal.SIGINT)
        process.popen.send_signal(signal.SIGCONT)
        assert process.popen.wait(PATIENCE_SECONDS) in (130, 143)


def test_a_service_that_was_killed_leaves_no_wrong_address(process: Process, ledger: Ledger, creation: Make) -> None:
    """After a kill the file names a process that is no more, and counts for nothing."""
    process.popen.kill()
    process.popen.wait()
    assert (ledger.data / "service.json").exists()
    events = ledger.write(json.dumps(creation()).encode(), "one.ndjson")
    assert run(ledger, "ingest", str(events)).returncode == 0


def test_a_second_service_is_refused(standing: Process) -> None:
    """Two services of one project would be two writers: the second says who is the first."""
    done = run(standing, "serve", "--port", "0")
    assert done.returncode == 3
    assert "writer_busy" in done.stderr
    assert standing.popen.poll() is None
    assert standing.announced["pid"] == standing.popen.pid


def test_an_address_that_cannot_be_listened_at(standing: Process, new_ledger: NewLedger) -> None:
    """A port that is taken is told as such, with exit code 3, and nothing is left behind."""
    other = new_ledger()
    done = run(other, "serve", "--port", str(standing.announced["port"]))
    assert (done.returncode, "address_unusable" in done.stderr) == (3, True)
    assert not (other.data / "service.json").exists()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (connections.MOST_HEAD_BYTES + 1),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 0123456789\r\n" * 5_000 + b"\r\n",
    ],
)
def test_headers_are_bounded(standing: Process, head: bytes) -> None:
    """One endless header, or any number of them, are answered with 400 and the connection closed."""
    with socket.create_connection(("127.0.0.1", standing.announced["port"]), PATIENCE_SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(head)
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionError:
            pass
    assert answer.startswith(b"HTTP/1.1 400") or not answer
    assert httpx.get(f"{standing.address}/healthz").status_code == 200


def test_certificates_make_it_https(ledger: Ledger, tmp_path: Path) -> None:
    """With TLS the service speaks nothing else, and says where to reach it by https."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    write_certificate(key, certificate)
    with serving(ledger, "--tls-certificate", str(certificate), "--tls-key", str(key)) as process:
        assert process.announced["scheme"] == "https"
        address = f"https://localhost:{process.announced['port']}"
        answer = httpx.get(f"{address}/healthz", verify=False)
        assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=31536000")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{process.address}/healthz")
        assert process.stop() == 0


def write_certificate(key: Path, certificate: Path) -> None:
    """A certificate for localhost that it signed itself."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, made.public_key(), 1, now, now + timedelta(days=1))
    signed = built.sign(made, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
