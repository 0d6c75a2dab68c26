"""A PostgreSQL server in a folder of its own, for what is measured against it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import postgres_programs


@contextmanager
def postgres_server() -> Iterator[tuple[Callable[..., str], Path]]:
    """A PostgreSQL server with its default durability, in a folder and on a socket of its own.

    Gives what asks it, and its folder. That is in /var/tmp, on a disk and not in memory. As root, which PostgreSQL
    refuses, another user runs it.
    """
    programs = postgres_programs()
    assert programs is not None, "run.py asks only where PostgreSQL is installed"
    folder = Path(tempfile.mkdtemp(prefix="clearwell-", dir="/var/tmp"))
    user = _unprivileged()
    if user is not None:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603
            [str(programs / program), "-D", str(folder / "data"), *arguments],
            user=user, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")

    def ask(sql: str, file: Path | None = None) -> str:
        command = [str(programs / "psql"), "-h", str(folder), "-U", "postgres", "-XqAt", "-v", "ON_ERROR_STOP=1"]
        with (file or Path(os.devnull)).open("rb") as content:
            return subprocess.run(  # noqa: S603
                [*command, "-c", sql], stdin=content, stdout=subprocess.PIPE, text=True, check=True
            ).stdout.strip()

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--locale=C", "--encoding=UTF8")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield ask, folder
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> str | None:
    """The user that runs the server when this process is root's; None when it is not."""
    if os.getuid():
        return None
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
