"""Sessions of Apache Spark by address: in this process, at a cluster's master, or behind Spark Connect.

Nothing listens beyond what the address needs: a session on this machine is bound to the loopback interface.
"""

from __future__ import annotations

import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from clearwell.engines.java import java_found
from clearwell.errors import StorageError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXPECTED = "local, local[4], local[*], spark://HOST:PORT or sc://HOST:PORT"

_LOCAL = re.compile(r"local(\[([1-9][0-9]*|\*)\])?")
_MASTER = re.compile(r"spark://(?P<hosts>[^/,]+:[0-9]+(,[^/,]+:[0-9]+)*)")
_CONNECT = re.compile(r"sc://(?P<host>\[[^\]]+\]|[^:/;]+)(:(?P<port>[0-9]+))?(/.*)?")
_CONNECT_PORT = 15_002

_REACHED_WITHIN_SECONDS = 5
_LOOPBACK = "127.0.0.1"

_SAME_VALUES = {
    "spark.sql.ansi.enabled": "true",  # A sum that overflows is an error, not another sum.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
}
"""What an answer depends on, set for the session whatever the cluster's defaults are."""

_GIGABYTE = 1 << 30
_MOST_MEMORY = 8 * _GIGABYTE
_LOCAL_PARTITIONS = 32


@dataclass(frozen=True)
class Opened:
    """A session of the engine's own, and how to end it."""

    session: SparkSession
    close: Callable[[], None]


def is_address(name: str) -> bool:
    """Whether the name of an engine means Spark."""
    return any(form.fullmatch(name) for form in (_LOCAL, _MASTER, _CONNECT))


def opened(address: str) -> Opened:
    """A session at an address.

    Raises UsageError for an address that is none and where PySpark or Java are not installed, StorageError when the
    address does not answer.
    """
    if not is_address(address):
        raise UsageError("engine_unknown", f"expected {EXPECTED}, found {address!r}")
    with _installed():
        found = _connected(address) if _CONNECT.fullmatch(address) else _classic(address)
    with warnings.catch_warnings(action="ignore"):  # One setting is deprecated, and counts.
        for name, value in _SAME_VALUES.items():
            found.session.conf.set(name, value)
    return found


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        message = (
            f"expected PySpark for an engine at this address, found none: pip install 'clearwell[spark]' ({error})"
        )
        raise UsageError("engine_not_installed", message) from error


def _connected(address: str) -> Opened:
    from pyspark.errors import PySparkException
    from pyspark.sql.connect.session import SparkSession as ConnectedSession

    found = _CONNECT.fullmatch(address)
    assert found is not None
    _reached(address, [(found["host"].strip("[]"), int(found["port"] or _CONNECT_PORT))])
    try:
        session = ConnectedSession.builder.remote(address).create()
    except PySparkException as error:
        raise unreachable(address, error) from error
    return Opened(cast("SparkSession", session), session.stop)  # Of another class, with the same methods.


def _classic(address: str) -> Opened:
    from pyspark import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    running = SparkContext._active_spark_context
    if running is not None:
        if running.master != address:
            message = f"expected no other Spark in this process than {address}, found {running.master}: stop it first"
            raise UsageError("engine_busy", message)
        return Opened(SparkSession(running).newSession(), _nothing)
    builder = SparkSession.builder.master(address).appName("clearwell")
    for name, value in _settings(address).items():
        builder = builder.config(name, value)
    try:
        with java_found():
            session = builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise unreachable(address, error) from error
    return Opened(session, session.stop)


def _settings(address: str) -> Mapping[str, str]:
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    master = _MASTER.fullmatch(address)
    if master is not None:
        places = [item.rsplit(":", 1) for item in master["hosts"].split(",")]
        own = _reached(address, [(host.strip("[]"), int(port)) for host, port in places])
        return quiet | {"spark.driver.host": own, "spark.driver.bindAddress": own}
    memory = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, _MOST_MEMORY)
    return quiet | {
        "spark.driver.host": _LOOPBACK,
        "spark.driver.bindAddress": _LOOPBACK,
        "spark.driver.memory": f"{memory >> 20}m",
        "spark.sql.shuffle.partitions": str(_LOCAL_PARTITIONS),
    }


def _reached(address: str, places: list[tuple[str, int]]) -> str:
    """This machine's own address on the way to the first place that answers. Raises StorageError when none does."""
    reasons = []
    for place in places:
        try:
            with socket.create_connection(place, timeout=_REACHED_WITHIN_SECONDS) as connection:
                return str(connection.getsockname()[0])
        except OSError as error:
            reasons.append(error)
    raise unreachable(address, reasons[-1])


def unreachable(address: str, error: Exception) -> StorageError:
    """What to raise for a Spark that cannot be used."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return StorageError("engine_unreachable", f"expected Spark at {address}, found that it does not answer: {reason}")


def _nothing() -> None:
    """A session that somebody else began is left open."""
