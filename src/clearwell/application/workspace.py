"""A project that is open: its settings, catalog, log and models. Knows where things are, and decides nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection

from clearwell.application import pairing
from clearwell.catalog import expectations, manifest, models
from clearwell.catalog.database import Database, known_ledger
from clearwell.catalog.expectations import LearnedSubdivision, LearnedWindow
from clearwell.catalog.keys import SubjectKeys
from clearwell.catalog.models import ModelPeriod
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.flows.load import load_model, read_flow_files
from clearwell.flows.model import Model
from clearwell.ingest.personal import Decryption
from clearwell.log.footers import Footers
from clearwell.log.manifest import Compaction, Segment
from clearwell.log.reader import LogReader
from clearwell.log.retention import Hold
from clearwell.settings import Settings
from clearwell.values.actors import Actor
from clearwell.values.currencies import Currencies

if TYPE_CHECKING:
    import duckdb

    from clearwell.application.catching_up import Follower
    from clearwell.application.writing import HeldLease
    from clearwell.projections.attaching import Reading
    from clearwell.quality.running import Engine, LogAtCut

_CATALOG = "catalog.sqlite"
_KEYS = "keys.sqlite"


class KnownModels(Mapping[str, Model]):
    """Every model that was ever in force, by version, loaded from the catalog when first asked for.

    Raises DataError when the stored texts of a model are not those that its version was computed from.
    """

    def __init__(self, catalog: Database, periods: Sequence[ModelPeriod], loaded: dict[str, Model]) -> None:
        """`loaded` has those that need not be loaded any more, and takes in those that are."""
        self._catalog = catalog
        self._versions = list(dict.fromkeys(period.version for period in periods))
        self._loaded = loaded

    def __getitem__(self, version: str) -> Model:
        if version not in self._loaded:
            if version not in self._versions:
                raise KeyError(version)
            with self._catalog.read() as connection:
                texts = models.model_texts(connection, version)
            model, problems = load_model(texts)
            if model is None or model.version != version:
                found = model.version if model else "; ".join(map(str, problems))
                raise DataError("model_changed", f"the catalog's texts of model {version} are others: {found}")
            self._loaded[version] = model
        return self._loaded[version]

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)


@dataclass
class Shared:
    """The writer's lease, and what keeps the projections, while somebody has them.

    `lease_lock` is held by whoever takes the lease or gives it back, `uncommitted` while there is a file in the log's
    folder that is about to be committed by a compaction.
    """

    lease: HeldLease | None = None
    lease_lock: Lock = field(default_factory=Lock)
    follower: Follower | None = None
    uncommitted: Lock = field(default_factory=Lock)


EngineFactory = Callable[[str, "LogAtCut", "duckdb.DuckDBPyConnection | None"], "Engine"]


def _no_engine(name: str, _log: LogAtCut, _connection: duckdb.DuckDBPyConnection | None) -> Engine:
    raise UsageError("engine_unknown", f"this project was opened without engines: {name!r} is none")


@dataclass(frozen=True)
class Workspace:
    """An open project. `clock` gives the present instant; `say` takes notices for the user.

    `engine` makes what runs metrics: by name or address, over the log at a cut, on a connection or on its own.
    `catalog_url` is `settings.catalog_url`: empty when the catalog is a file of the data folder. `actor` is who changes
    what is changed through this workspace; without one, the audit gets no entry.
    """

    folder: Path
    settings: Settings
    clock: Callable[[], datetime]
    say: Callable[[str], None] = field(default=lambda _notice: None)
    engine: EngineFactory = field(default=_no_engine)
    catalog_url: str = field(default="", repr=False)
    actor: Actor | None = None

    def by(self, actor: Actor) -> Workspace:
        """The same open project for somebody else to act in: it shares what is open, and is not to be closed."""
        _ = self.catalog, self.keys if self.has_keys else None, self.shared, self.projection_reading
        _ = self._read_texts, self._loaded_models, self._read_log, self._footers
        same = copy(self)
        object.__setattr__(same, "actor", actor)
        return same

    @cached_property
    def data_folder(self) -> Path:
        """Where catalog, log and projections are; made when missing, for nobody else to read.

        Raises StorageError when it cannot be made.
        """
        path = self.folder / self.settings.data
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            (path / "log").mkdir(exist_ok=True)
        except OSError as error:
            message = f"expected a data folder at {path}, found that it cannot be made: {error.strerror}"
            raise StorageError("data_folder_unusable", message) from error
        return path

    @property
    def has_ledger(self) -> bool:
        """Whether anything was ever stored. Questions to a new project make no files."""
        data = self.folder / self.settings.data
        if "catalog" in self.__dict__ or any((data / name).exists() for name in (_CATALOG, pairing.LEDGER_ID)):
            return True
        return self._catalog_address is not None and known_ledger(self._catalog_address) is not None

    @property
    def log_folder(self) -> Path:
        """Where the segments are."""
        return self.data_folder / "log"

    @property
    def readers_folder(self) -> Path:
        """Where readers say which files they use (`log.retention`)."""
        return self.data_folder / "readers"

    @property
    def projection_path(self) -> Path:
        """The DuckDB file of the projections."""
        return self.data_folder / "projections.duckdb"

    @cached_property
    def projection_reading(self) -> Reading:
        """What reads the projections. The project refers to it, so that it stays between questions."""
        from clearwell.projections.attaching import Reading  # Few commands need DuckDB.

        return Reading.of(self.projection_path)

    @cached_property
    def catalog(self) -> Database:
        """The catalog, opened when first needed. Raises UsageError when it is not that of the data folder."""
        path = self.data_folder / _CATALOG
        if self._catalog_address is None:
            pairing.require_in_folder(self.data_folder)
            return Database(path)
        pairing.require_not_in_folder(path)
        catalog = Database(self._catalog_address)
        try:
            pairing.pair(catalog, self.data_folder)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @cached_property
    def _catalog_address(self) -> URL | None:
        """Where the catalog is in PostgreSQL; None when it is a file. Raises UsageError for a URL that is none."""
        return address_of(self.catalog_url)

    @cached_property
    def keys(self) -> SubjectKeys:
        """The keys of subjects, opened when first needed; the file is made when it is missing."""
        return SubjectKeys(self.data_folder / _KEYS, os.urandom)

    @property
    def has_keys(self) -> bool:
        """Whether a key was ever made, or a subject forgotten."""
        return (self.folder / self.settings.data / _KEYS).exists()

    @property
    def decryption(self) -> Decryption:
        """What decrypts personal values, by the keys that are here; makes no file."""
        return Decryption(lambda: self.keys if self.has_keys else None)

    @cached_property
    def currencies(self) -> Currencies:
        """ISO 4217 and what the project declares. Raises DataError for a declaration that cannot be."""
        try:
            return Currencies(self.settings.currencies)
        except ValueError as error:
            raise DataError("settings_invalid", f"currencies in clearwell.yaml: {error}") from error

    def project_texts(self) -> dict[str, str]:
        """The flow files of the folder, by name."""
        return read_flow_files(self.folder / "flows")

    def project_model(self) -> Model:
        """The model that the folder describes now. Raises DataError with every problem when it has some."""
        model, problems = load_model(self.project_texts())
        errors = [problem for problem in problems if problem.severity == "error"]
        if model is None or errors:
            raise DataError("model_invalid", f"the flows have {len(errors)} problem(s)", [str(item) for item in errors])
        return model

    def periods(self) -> list[ModelPeriod]:
        """Which models were in force, oldest first."""
        if not self.has_ledger:
            return []
        with self.catalog.read() as connection:
            return models.model_periods(connection)

    def learned_windows(self) -> list[LearnedWindow]:
        """Every learned window that was ever accepted, oldest first."""
        with self.catalog.read() as connection:
            return expectations.learned_windows_of(connection)

    def learned_subdivisions(self) -> list[LearnedSubdivision]:
        """Every window of a value that was ever accepted, oldest first."""
        with self.catalog.read() as connection:
            return expectations.learned_subdivisions_of(connection)

    def known_models(self, periods: Sequence[ModelPeriod] | None = None, *, anew: bool = False) -> KnownModels:
        """Every model that was ever in force (in one of `periods`), by version.

        A version never changes, so that what was loaded before need not be again, unless `anew` says so.
        """
        loaded = dict[str, Model]() if anew else self._loaded_models
        return KnownModels(self.catalog, self.periods() if periods is None else periods, loaded)

    def accepted_texts(self, version: str) -> dict[str, str]:
        """The flow files, by name, that a version of the model was accepted with."""
        if version not in self._read_texts:
            with self.catalog.read() as connection:
                self._read_texts[version] = models.model_texts(connection, version)
        return self._read_texts[version]

    @cached_property
    def _read_texts(self) -> dict[str, dict[str, str]]:
        return {}

    @cached_property
    def _loaded_models(self) -> dict[str, Model]:
        return {}

    def amount_names(self) -> tuple[str, ...]:
        """The names of all amounts that a model ever had, sorted."""
        return tuple(sorted({name for model in self.known_models().values() for name in model.amount_names}))

    def log(self, *, anew: bool = False) -> LogReader:
        """The log as it is now. Its files stay where they are while the reader is in use.

        Rows of the manifest are only ever added, so that those which were read before are not read again, unless the
        newest of them is another now, or `anew` says so.
        """
        while True:
            with self.catalog.read() as connection:
                generation = manifest.newest_compaction(connection)
                hold = self._hold(generation)
                known = self._read_log.get("log")
                if anew or known is None or not _still_right(connection, known, generation):
                    known = LogReader(self.log_folder, (), footers=self._footers)
                # Looked for again, now that the generation is held: one may have come between.
                found = manifest.compaction_rows(connection, known.generation)
                newer = [Compaction.from_mapping(dict(row)) for row in found]
                # After the compactions: every segment that one of them covers is among these rows.
                rows = manifest.segment_rows(connection, known.segments[-1].number if known.segments else 0)
            log = known.grown([Segment.from_mapping(dict(row)) for row in rows], newer)
            if log.generation == generation:
                self._read_log["log"] = log
                return log.held(hold)

    @cached_property
    def _read_log(self) -> dict[str, LogReader]:
        """The log as it was read last, without a hold."""
        return {}

    @cached_property
    def _footers(self) -> Footers:
        return Footers()

    def _hold(self, generation: int) -> Hold | None:
        try:
            return Hold(self.readers_folder, generation)
        except OSError:  # A copy that nobody may write to loses no files either.
            return None

    @cached_property
    def shared(self) -> Shared:
        """What those who write through this workspace share."""
        return Shared()

    @contextmanager
    def closing(self) -> Iterator[Workspace]:
        """Release what was opened when the block ends."""
        try:
            yield self
        finally:
            for name in ("catalog", "keys"):
                if name in self.__dict__:
                    getattr(self, name).close()
            self.__dict__.pop("projection_reading", None)


def _still_right(connection: Connection, known: LogReader, generation: int) -> bool:
    """Whether the manifest, with compactions up to `generation`, still has what was read of it, by its newest rows."""
    newest = known.segments[-1] if known.segments else None
    return generation >= known.generation and (
        newest is None or manifest.row_hash(connection, newest.number) == newest.hash
    )


def address_of(catalog_url: str) -> URL | None:
    """What `settings.catalog_url` says, taken apart; None when it is empty. Raises UsageError when it is no URL."""
    if not catalog_url:
        return None
    from clearwell.catalog.postgresql import catalog_address  # Most ledgers do not need it.

    return catalog_address(catalog_url)


def require_ledger(periods: list[ModelPeriod]) -> None:
    """Raise UsageError when nothing was ever ingested, so that there is nothing to ask about."""
    if not periods:
        raise UsageError("ledger_empty", "there are no events yet: bring some in with `clearwell ingest`")
