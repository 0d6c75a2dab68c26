"""Servers of databases in scratch folders, for what is asked of them.

Where a server is not installed, its tests are skipped and say so; in CI that is a failure.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from producer_records import PASSWORD


def missing(what: str) -> None:
    """Skip, or fail in CI: what is not installed there is never tested anywhere."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed: .ci/run must install it")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[URL]:
    """A PostgreSQL server, on a socket of its own; its superuser has `PASSWORD`."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not found:
        missing("a PostgreSQL server")
    programs = max(found, key=lambda path: float(path.parent.name))
    with _folder("postgres") as (folder, user):
        secret = folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        data = ["-D", str(folder / "data")]
        initdb = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username=postgres", "--locale=C", "--encoding=UTF8"]
        _run([str(programs / "initdb"), *data, *initdb], user, folder)
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        _run([str(programs / "pg_ctl"), *data, "-w", "-l", str(folder / "log"), "-o", options, "start"], user, folder)
        try:
            yield URL.create(
                "postgresql+psycopg", "postgres", PASSWORD, database="postgres", query={"host": str(folder)}
            )
        finally:
            _run([str(programs / "pg_ctl"), *data, "-w", "-m", "immediate", "stop"], user, folder)


@pytest.fixture(scope="session")
def mysql() -> Iterator[URL]:
    """A MariaDB server, on a socket of its own; its user `clearwell` has `PASSWORD`."""
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        missing("a MariaDB server")
    assert server is not None
    base = Path(server).parent.parent
    with _folder("mysql") as (folder, user):
        data, socket = folder / "data", folder / "socket"
        installing = [str(base / "bin" / "mariadb-install-db"), "--no-defaults", f"--basedir={base}", "--skip-test-db"]
        _run([*installing, f"--datadir={data}", "--auth-root-authentication-method=normal"], user, folder)
        serving = [server, "--no-defaults", f"--basedir={base}", f"--datadir={data}", f"--socket={socket}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*serving, "--skip-networking"], user=user, cwd=folder, stdout=log, stderr=log, env=_environment(folder)
            )
        try:
            url = URL.create("mysql+pymysql", "root", database="mysql", query={"unix_socket": str(socket)})
            _wait_for(url)
            with create_engine(url, poolclass=NullPool).begin() as connection:
                connection.execute(text("CREATE DATABASE shop CHARACTER SET utf8mb4"))
                connection.execute(
                    text("CREATE USER clearwell@localhost IDENTIFIED BY :password"), {"password": PASSWORD}
                )
                connection.execute(text("GRANT ALL ON shop.* TO clearwell@localhost"))
            yield url.set(username="clearwell", password=PASSWORD, database="shop")
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def _folder(user: str) -> Iterator[tuple[Path, str | None]]:
    """A folder for a server, and the user that runs it: these servers refuse to be run by root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    runs = None if os.getuid() else user if user in names else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir="/tmp"))  # The name of a socket has 107 bytes at most.
    if runs is not None:
        shutil.chown(folder, runs)
    try:
        yield folder, runs
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], user: str | None, folder: Path) -> None:
    done = subprocess.run(
        command, user=user, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, check=False, env=_environment(folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _environment(folder: Path) -> dict[str, str]:
    """That of a server, whose user may not write where this process has its temporary files."""
    return {**os.environ, "TMPDIR": str(folder)}


def _wait_for(url: URL) -> None:
    """Until the server takes connections, a minute at most."""
    until = time.monotonic() + 60
    while True:
        try:
            create_engine(url, poolclass=NullPool).connect().close()
        except DBAPIError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
