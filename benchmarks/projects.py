"""Makes and copies the projects that are measured: a folder with settings, the benchmark's flows, and data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

HERE = Path(__file__).parent
UNSEALED = "catalog-unsealed"
"""A ledger keeps the catalog as it was before the seal in a folder of this name beside its data."""


def new_project(folder: Path, batch_events: int | None = None) -> Path:
    """An empty project in `folder`, with the default size of a batch where none is given."""
    folder.mkdir(parents=True)
    (folder / "clearwell.yaml").write_text(
        f"batch_events: {batch_events}\n" if batch_events else "name: benchmark\n", encoding="utf-8"
    )
    shutil.copytree(HERE / "flows", folder / "flows")
    return folder


def keep_unsealed(folder: Path) -> None:
    """Keep the catalog of a project that is not sealed yet, for measuring the seal."""
    kept = folder / UNSEALED
    kept.mkdir()
    for path in (folder / "data").glob("catalog.sqlite*"):
        shutil.copy2(path, kept)


def copied(ledger: Path, folder: Path, *, sealed: bool = True, batch_events: int | None = None) -> Path:
    """A copy of the ledger in `folder`. The files of the log are the same files: nothing ever changes them."""
    new_project(folder, batch_events)
    shutil.copytree(ledger / "data", folder / "data", copy_function=_copy)
    if not sealed:
        for path in (folder / "data").glob("catalog.sqlite*"):
            path.unlink()
        shutil.copytree(ledger / UNSEALED, folder / "data", dirs_exist_ok=True)
    return folder


def _copy(source: str, destination: str) -> None:
    if Path(source).parent.name == "log":
        os.link(source, destination)
    else:
        shutil.copy2(source, destination)
        with Path(destination).open("rb") as file:
            os.fsync(file.fileno())  # Else the disk would still be at it when the clock runs.
