"""Holds a data folder and a catalog in PostgreSQL together: both have the id of their ledger.

Refuses to open a folder with the catalog of another ledger, which would take its files of the log for leftovers.
"""

from __future__ import annotations

import os
from pathlib import Path

from clearwell.catalog.database import Database, ledger_id, set_ledger_id
from clearwell.errors import StorageError, UsageError

LEDGER_ID = "ledger-id"
"""The file of the data folder that is there when its catalog is in PostgreSQL."""

_ID_BYTES = 16


def new_ledger_id() -> str:
    """An id that no other ledger has."""
    return os.urandom(_ID_BYTES).hex()


def folder_id(data: Path) -> str | None:
    """Which ledger a data folder says that it is of; None when its catalog never was in PostgreSQL."""
    try:
        return (data / LEDGER_ID).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError("ledger_id_unreadable", f"{data / LEDGER_ID} cannot be read: {error}") from error


def write_folder_id(data: Path, value: str) -> None:
    """Say durably which ledger a data folder is of. Raises OSError."""
    from clearwell.log.copying import sync_names, write_file  # Once in the life of a ledger.

    write_file(data / LEDGER_ID, [value.encode("ascii")])
    sync_names(data)


def pair(catalog: Database, data: Path) -> None:
    """Make a new folder and a new catalog one ledger; those that are one already stay so.

    Raises UsageError (`catalog_of_another_ledger`) when they do not belong together, StorageError.
    """
    with catalog.read() as connection:
        known = ledger_id(connection)
    if known is None:
        with catalog.write() as connection:  # Nobody else gives either an id meanwhile.
            known = ledger_id(connection)
            if known is None:
                known = _begun(catalog, data)
                set_ledger_id(connection, known)
    found = folder_id(data)
    if found != known:
        whose = "has no ledger yet" if found is None else f"is of ledger {found}"
        raise UsageError(
            "catalog_of_another_ledger",
            f"the catalog {catalog.name} is of ledger {known}, but the data folder {data} {whose}: put right "
            "CLEARWELL_CATALOG_URL, or `data` in clearwell.yaml. A new ledger needs a schema of its own",
        )


def _begun(catalog: Database, data: Path) -> str:
    """The id of a ledger whose catalog is new, and whose folder must be: the catalog knows nothing of its log."""
    if any((data / "log").glob("*.parquet")):
        raise UsageError(
            "catalog_of_another_ledger",
            f"the catalog {catalog.name} is new, but {data / 'log'} has files: put right CLEARWELL_CATALOG_URL, or "
            "bring the ledger there with `clearwell restore`",
        )
    found = folder_id(data)  # Of a beginning that was interrupted.
    if found is not None:
        return found
    made = new_ledger_id()
    try:
        write_folder_id(data, made)
    except OSError as error:
        raise StorageError("data_folder_unusable", f"{data / LEDGER_ID} cannot be written: {error}") from error
    return made


def require_in_folder(data: Path) -> None:
    """Raise UsageError (`catalog_url_missing`) for a data folder whose catalog is in PostgreSQL."""
    if folder_id(data) is not None:
        raise UsageError(
            "catalog_url_missing",
            f"the catalog of {data} is in PostgreSQL: set CLEARWELL_CATALOG_URL to where it is",
        )


def require_not_in_folder(catalog_file: Path) -> None:
    """Raise UsageError (`catalog_in_folder`) for a data folder that has its catalog itself."""
    if catalog_file.exists():
        raise UsageError(
            "catalog_in_folder",
            f"CLEARWELL_CATALOG_URL is set, but this ledger has its catalog in {catalog_file}: unset it, or bring the "
            "ledger into PostgreSQL with `clearwell backup` and `clearwell restore`",
        )
