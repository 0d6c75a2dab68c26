"""Spark for tests: a server of Spark Connect, and a cluster of a master and two workers, all on loopback."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from statements import skip_aloud

from clearwell.engines.java import java_found

_LOOPBACK = "127.0.0.1"
_READY_WITHIN_SECONDS = 300

JAVA_OPTIONS = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
"""For the environment of every Java: each statement runs once, and what compiles it thoroughly costs more than it."""


def require_spark() -> None:
    """Skip, aloud, where PySpark or Java are missing."""
    try:
        import pyspark  # noqa: F401
    except ImportError:
        skip_aloud("PySpark is not installed")
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        skip_aloud("Java is not installed")


@contextmanager
def connect_server() -> Iterator[str]:
    """A server of Spark Connect; gives its address."""
    port = _free_port()
    settings = {
        "spark.connect.grpc.binding.address": _LOOPBACK,
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": _LOOPBACK,
        "spark.driver.bindAddress": _LOOPBACK,
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.session.timeZone": "Asia/Tokyo",  # What the server does by default is not what an answer is.
        "spark.sql.ansi.enabled": "false",
    }
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    command = ["spark-submit", "--master", "local[2]", *options, "--class", server, "spark-internal"]
    with _running(command, r"Spark Connect server started"):
        yield f"sc://{_LOOPBACK}:{port}"


@contextmanager
def cluster() -> Iterator[str]:
    """A standalone master and two workers of one core each; gives the master's address."""
    port = _free_port()
    address = f"spark://{_LOOPBACK}:{port}"
    listening = ["--host", _LOOPBACK, "--webui-port", "0"]
    master = ["spark-class", "org.apache.spark.deploy.master.Master", *listening, "--port", str(port)]
    worker = ["spark-class", "org.apache.spark.deploy.worker.Worker", *listening, "--cores", "1", "--memory", "1g"]
    with ExitStack() as stack:
        stack.enter_context(_running(master, r"New state: ALIVE"))
        for _number in range(2):
            stack.enter_context(_running([*worker, address], r"registered with master"))
        yield address


@contextmanager
def _running(command: Sequence[str], ready: str) -> Iterator[None]:
    """A program of Spark, from when it says that it is `ready` until the block ends."""
    import pyspark

    home = Path(pyspark.__file__).parent
    folder = tempfile.mkdtemp(prefix="clearwell-spark-")
    own = {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": _LOOPBACK, "SPARK_WORKER_DIR": folder, "SPARK_LOCAL_DIRS": folder}
    with java_found():
        process = subprocess.Popen(
            [str(home / "bin" / command[0]), *command[1:]], cwd=folder, env={**os.environ, **own},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    said: list[str] = []
    is_ready = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if re.search(ready, line):
                is_ready.set()
        is_ready.set()  # It ended, and is waited for no longer.

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert is_ready.wait(_READY_WITHIN_SECONDS), "".join(said)
        assert process.poll() is None, "".join(said)
        yield
    finally:
        process.terminate()
        process.wait(60)
        listener.join(60)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((_LOOPBACK, 0))
        return int(taken.getsockname()[1])
