"""Keeps worlds and ledgers from run to run: made when missing, made anew when their time has passed.

A world is for 12 hours, and for the code that makes it; a ledger for its world, and for the code that is measured.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from children import Child, Source

HERE = Path(__file__).parent
MAKERS = ("world.py", "measures_of_material.py", "moves.py", "projects.py")
KEPT_FOR = timedelta(hours=12)
KEPT_LEDGERS = 4
"""Of one world: two for each of the states of the code that were measured last."""

_LEDGER_MAKERS = {"ledger": "material.ledger", "compacted": "clearwell.compacted"}


@dataclass(frozen=True)
class Store:
    """The worlds and ledgers in `folder`."""

    folder: Path

    @property
    def work(self) -> Path:
        """Where runs write what is removed after them."""
        return self.folder / "work"

    def until(self, events: int) -> datetime:
        """When the world of this size ends: the full hour before it was first asked for, for 12 hours."""
        note = self._world(events) / "world.json"
        now = datetime.now(UTC)
        if note.exists():
            content = json.loads(note.read_text(encoding="utf-8"))
            until = datetime.fromisoformat(content["until"])
            if now - until < KEPT_FOR and content.get("made_by") == _made_by():
                return until
            shutil.rmtree(note.parent)
        until = now.replace(minute=0, second=0, microsecond=0)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"until": until.isoformat(), "made_by": _made_by()}), encoding="utf-8")
        return until

    def material(self, name: str, events: int, source: Source) -> Path:
        """A form of the world: `records` (Parquet), `ndjson`, `csv`, `openings`, `entries`. A folder of files."""
        until = self.until(events)
        folder = self._world(events) / name
        if not folder.exists():
            paths = {"folder": str(folder.with_suffix(".part"))}
            if name in {"ndjson", "csv", "entries"}:
                paths["records"] = str(self.material("records", events, source))
            shutil.rmtree(paths["folder"], ignore_errors=True)
            Child(source, self.work, events, until.isoformat(), paths).run(f"material.{name}")
            Path(paths["folder"]).rename(folder)
        return folder

    def ledger(self, events: int, source: Source) -> Path:
        """A project with the world of this size ingested and sealed by the code of `source`."""
        return self._kept("ledger", events, source, {"records": lambda: self.material("records", events, source)})

    def compacted(self, events: int, source: Source) -> Path:
        """A copy of that project with its log compacted."""
        return self._kept("compacted", events, source, {"ledger": lambda: self.ledger(events, source)})

    def _kept(self, name: str, events: int, source: Source, needs: Mapping[str, Callable[[], Path]]) -> Path:
        """A project of this code; it is made, by the maker of that name, from what it needs when it is not there."""
        until = self.until(events)
        folder = self.folder / "ledgers" / f"{_world_name(events, until)}-{source.fingerprint()}-{name}"
        if not folder.exists():
            aside = folder.with_suffix(".part")
            shutil.rmtree(aside, ignore_errors=True)
            paths = {"folder": str(aside), **{need: str(path()) for need, path in needs.items()}}
            Child(source, self.work, events, until.isoformat(), paths).run(_LEDGER_MAKERS[name])
            aside.rename(folder)
        folder.touch()
        self._forget_ledgers(events, until)
        return folder

    def _world(self, events: int) -> Path:
        return self.folder / "worlds" / str(events)

    def _forget_ledgers(self, events: int, until: datetime) -> None:
        """Remove the ledgers of worlds that are gone, and of this world those that were used longest ago."""
        ledgers = sorted((self.folder / "ledgers").glob(f"{events}-*"), key=lambda path: -path.stat().st_mtime)
        current = [path for path in ledgers if path.name.startswith(_world_name(events, until))]
        for old in set(ledgers) - set(current[:KEPT_LEDGERS]):
            shutil.rmtree(old)


def _world_name(events: int, until: datetime) -> str:
    return f"{events}-{until:%Y%m%dT%H}-{_made_by()}"


def _made_by() -> str:
    """A short hash of the code and the flows that worlds are made with."""
    digest = sha256()
    for path in [*(HERE / name for name in MAKERS), *sorted((HERE / "flows").iterdir())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:6]
