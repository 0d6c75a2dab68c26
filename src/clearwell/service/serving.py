"""Serves the app over HTTP until the process is asked to stop; then everything under way is answered first.

A first SIGTERM or SIGINT stops gracefully, and the exit code is 0; a second one ends the process at once.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from clearwell.application.announcing import announced
from clearwell.errors import StorageError, UsageError
from clearwell.service.api.app import create_app
from clearwell.service.connections import GuardedProtocol
from clearwell.service.logs import LogFormat, log
from clearwell.service.running import Service
from clearwell.service.stopping import Stopping

ANSWER_SECONDS = 20
"""So long requests that are under way may take once the service is to stop."""

STOP_SECONDS = 60.0
"""So long all of stopping may take; then the process ends as after a crash, from which nothing is lost either."""

MOST_CONNECTIONS = 2_000
_IDLE_SECONDS = 30
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TRACES = ("OTEL_TRACES_EXPORTER",)


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, and how. Beyond this machine it takes TLS, or a proxy in front that has it."""

    host: str = "127.0.0.1"
    port: int = 8080
    log_format: LogFormat = "text"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure_behind_proxy: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service, and no proxy leads to it."""
        if self.insecure_behind_proxy:
            return False
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def require_safe(self) -> None:
        """Raise UsageError when secrets would cross a network in clear, or the options do not fit together."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UsageError("tls_incomplete", "expected both --tls-certificate and --tls-key")
        for path in (self.tls_certificate, self.tls_key):
            if path is not None and not path.is_file():
                raise UsageError("tls_file_missing", f"expected a file at {path}, found none")
        if not self.is_loopback and not self.insecure_behind_proxy and self.tls_certificate is None:
            raise UsageError(
                "tls_missing",
                f"expected --tls-certificate and --tls-key to listen at {self.host}, for keys would cross the network "
                "in clear. With a proxy in front that has TLS, say --insecure-behind-proxy",
            )


class Signals:
    """What SIGTERM and SIGINT do, from now until the process ends: first `stop`, then at once."""

    def __init__(self) -> None:
        """To be made in the main thread; until `stop` is set, the first signal interrupts the start."""
        self.stop: Callable[[], None] | None = None
        self._count = 0
        for number in _SIGNALS:
            signal.signal(number, self._come)

    def _come(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            os._exit(128 + number)
        threading.Thread(target=self._limit, name="clearwell-stop", daemon=True).start()
        if self.stop is None:
            raise KeyboardInterrupt
        self.stop()

    def _limit(self) -> None:
        if not threading.Event().wait(STOP_SECONDS):
            log(logging.ERROR, f"not stopped within {STOP_SECONDS:g} seconds: ended as after a crash")
            os._exit(1)


class Server(uvicorn.Server):
    """uvicorn's server, which says where it listens, and tells what is under way that it stops."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping, listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._listening = listening

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say at which port."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise StorageError(
                "address_unusable", f"expected to listen at {self.config.host}:{self.config.port}, which cannot be"
            ) from error
        self._listening(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: Any = None) -> None:
        """Accept nothing more, and let what is under way end."""
        self._stopping.begin()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `Signals` does."""
        yield


def configured(service: Service, options: ServeOptions) -> uvicorn.Config:
    """The limits of the server."""
    return uvicorn.Config(
        create_app(service),
        host=options.host,
        port=options.port,
        http=GuardedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=options.insecure_behind_proxy,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=ANSWER_SECONDS,
    )


def serve(service: Service, options: ServeOptions, signals: Signals) -> None:
    """Serve until a signal comes. Raises StorageError when the address cannot be listened at."""
    scheme = "https" if options.tls_certificate else "http"
    with ExitStack() as stack:

        def listening(port: int) -> None:
            found = stack.enter_context(announced(service.workspace, options.host, port, scheme))
            log(logging.INFO, f"serving at {found.address}", pid=found.pid)

        server = Server(configured(service, options), service.stopping, listening)

        def stop() -> None:
            server.should_exit = True

        signals.stop = stop
        server.run()
        log(logging.INFO, "stopping: requests are answered")


def set_up_traces() -> bool:
    """Have an installed SDK of OpenTelemetry set itself up, by the OTEL_ variables; whether that was asked for."""
    if not any(os.environ.get(name, "none") != "none" for name in _TRACES):
        return False
    for entry in entry_points(group="opentelemetry_configurator"):
        entry.load()().configure(auto_instrumentation_version="")
        return True
    log(logging.WARNING, "OTEL_TRACES_EXPORTER is set, but there is no opentelemetry-sdk: no traces are sent")
    return False
