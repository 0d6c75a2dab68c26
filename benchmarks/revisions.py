"""Another revision of the code, checked out beside the working tree for as long as it is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from children import Source
from machine import git


@contextmanager
def checked_out(repository: Path, revision: str) -> Iterator[Source]:
    """The source of a git revision, in a folder that is removed after. Raises ValueError when there is none."""
    commit = git(repository, "rev-parse", "--verify", f"{revision}^{{commit}}")
    folder = Path(tempfile.mkdtemp(prefix="clearwell-against-"))
    git(repository, "worktree", "add", "--detach", str(folder), commit)
    try:
        yield Source(f"{revision} ({commit[:12]})", folder / "src")
    finally:
        git(repository, "worktree", "remove", "--force", str(folder))
