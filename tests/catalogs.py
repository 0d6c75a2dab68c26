"""Where the catalogs of a test's ledgers are: a file in the data folder of each, or a schema of PostgreSQL for each.

The suite is the same for both. `--catalog postgresql` has every ledger of a run in PostgreSQL; without it, the tests of
`ON_BOTH` run once with each. A test that has to do with the file itself says so: `@pytest.mark.catalog_file`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.pool import NullPool

from clearwell import bootstrap
from clearwell.application.pairing import LEDGER_ID
from clearwell.catalog.postgresql import PostgresqlSchema, catalog_address
from clearwell.settings import CATALOG_URL

SQLITE, POSTGRESQL = "sqlite", "postgresql"
KINDS = (SQLITE, POSTGRESQL)

ON_BOTH = (
    "unit/catalog/test_catalog_comparisons.py",
    "unit/catalog/test_catalog_database.py",
    "unit/catalog/test_catalog_lease.py",
    "unit/ingest/test_ingest_door.py",
    "unit/application/test_application_attributing.py",
    "unit/application/test_application_backups.py::test_what_comes_back_is_the_same_ledger",
    "unit/application/test_application_backups.py::test_a_restored_project_goes_on",
    "unit/application/test_application_backups.py::test_the_lease_is_not_restored",
    "unit/application/test_application_backups.py::test_only_new_files_are_copied",
    "unit/application/test_application_backups.py::test_a_damaged_manifest_stops_a_backup",
    "unit/application/test_application_forgetting.py",
    "unit/application/test_application_modelling.py",
    "unit/application/test_application_quarantining.py",
    "unit/application/test_application_verifying.py",
    "faults/test_storage_catalog.py",
)
"""What `make test` runs with the catalog in PostgreSQL too; `make test-postgresql` runs everything so."""

_SERVER = "CLEARWELL_TESTS_SERVER"
"""For processes that a test starts: the server that the catalogs are on."""

_FILE = "catalog.sqlite"
_WORKSPACE = bootstrap.Workspace


class _Current:
    server: str = ""


def use(server: URL | None) -> None:
    """From now on, new ledgers have their catalog on this server of PostgreSQL, or, with None, in a file."""
    _Current.server = server.render_as_string(hide_password=False) if server is not None else ""
    os.environ[_SERVER] = _Current.server
    bootstrap.Workspace = _opened  # type: ignore[misc,assignment]


@contextmanager
def used(server: URL | None) -> Iterator[None]:
    """As `use`, for a block."""
    before = _Current.server
    use(server)
    yield
    use(make_url(before) if before else None)


def use_as_told() -> None:
    """As `use`, in a process that a test has started."""
    if os.environ.get(_SERVER):
        _Current.server = os.environ[_SERVER]
        bootstrap.Workspace = _opened  # type: ignore[misc,assignment]


def in_postgresql() -> bool:
    """Whether new ledgers have their catalog there."""
    return bool(_Current.server)


def url_for(folder: Path, data: Path) -> str:
    """What `CLEARWELL_CATALOG_URL` must be for the project in `folder`: each has a schema of its own."""
    own = (data / LEDGER_ID).exists() or not (data / _FILE).exists()
    return schema_url(str(folder.resolve())) if _Current.server and own else ""


def schema_url(name: str) -> str:
    """The URL of a schema that nobody else uses who does not say this `name`; empty when catalogs are files."""
    schema = f"cw_{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"{_Current.server}&schema={schema}" if _Current.server else ""


def place(folder: Path) -> Path | URL:
    """Where a test that makes a catalog itself has it."""
    path = folder / _FILE
    return catalog_address(schema_url(str(path.resolve()))) if _Current.server else path


def environment(folder: Path, data: Path) -> dict[str, str]:
    """The environment of a process that opens the project in `folder` as a user would."""
    return {**os.environ, CATALOG_URL: url_for(folder, data)}


@contextmanager
def connected(folder: Path, data: Path) -> Iterator[Connection]:
    """A transaction of whoever changes the catalog of a project behind Clearwell's back: nothing holds references."""
    url = url_for(folder, data)
    engine = _engine(catalog_address(url) if url else data / _FILE)
    try:
        with engine.begin() as connection:
            if url:
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            yield connection
    finally:
        engine.dispose()


def stored(folder: Path, data: Path) -> bytes:
    """What is on disk of the catalog's quarantine, with SQLite of all of the catalog."""
    if not url_for(folder, data):
        return b"".join(path.read_bytes() for path in data.glob("catalog*"))
    with connected(folder, data) as connection:
        connection.exec_driver_sql("CHECKPOINT")
        found = connection.exec_driver_sql("SELECT pg_read_binary_file(pg_relation_filepath('quarantine'))")
        content: bytes = found.scalar_one()
    return content


def _engine(where: Path | URL) -> Engine:
    if isinstance(where, Path):
        return create_engine(f"sqlite:///{where}", poolclass=NullPool)
    return PostgresqlSchema(where, "catalog").engine


def _opened(folder: Path, settings: Any, clock: Any, say: Any, engine: Any, url: str, actor: Any) -> Any:
    """A workspace whose catalog is where `use` said, unless the environment says so."""
    return _WORKSPACE(folder, settings, clock, say, engine, url or url_for(folder, folder / settings.data), actor)
