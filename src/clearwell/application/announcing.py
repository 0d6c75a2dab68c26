"""Says in `data/service.json` where the service of a project is, so that other commands can name it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from clearwell.application.workspace import Workspace
from clearwell.values.times import stored_text

_FILE = "service.json"


@dataclass(frozen=True)
class RunningService:
    """Which process serves a project, where it listens, and since when."""

    pid: int
    host: str
    port: int
    scheme: str
    started_at: str

    @property
    def address(self) -> str:
        """Where to reach it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@contextmanager
def announced(workspace: Workspace, host: str, port: int, scheme: str) -> Iterator[RunningService]:
    """Say that this process serves the project, until the block ends. Only the owner of the file can read it."""
    service = RunningService(os.getpid(), host, port, scheme, stored_text(workspace.clock()))
    path = workspace.data_folder / _FILE
    aside = path.with_suffix(".part")
    aside.unlink(missing_ok=True)
    aside.touch(0o600, exist_ok=False)
    aside.write_text(json.dumps(asdict(service)), encoding="utf-8")
    aside.replace(path)
    try:
        yield service
    finally:
        path.unlink(missing_ok=True)


def running_service(data_folder: Path) -> RunningService | None:
    """The service that was announced and whose process is there still; None when there is none."""
    try:
        found = RunningService(**json.loads((data_folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    try:
        os.kill(found.pid, 0)
    except PermissionError:  # It is there, and another user's.
        return found
    except (OSError, TypeError, OverflowError):
        return None
    return found
