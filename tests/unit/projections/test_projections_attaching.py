"""Reading by a DuckDB that stays: between questions the file is free, and nothing of a reader is left to the next."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import duckdb
import pytest

from clearwell.errors import StorageError
from clearwell.projections.attaching import Reading
from clearwell.projections.store import ProjectionStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of projections, empty."""
    path = tmp_path / "projections.duckdb"
    ProjectionStore(path).close()
    return path


def test_between_readers_the_file_can_be_written(path: Path) -> None:
    """A writer gets the file as soon as the last reader is closed, and not before."""
    reading = Reading.of(path)
    first, second = ProjectionStore(path, read_only=True), ProjectionStore(path, read_only=True)
    first.close()
    with pytest.raises(StorageError) as caught:
        ProjectionStore(path)
    assert caught.value.code == "projections_busy"
    assert second.applied_sequence == 0
    second.close()
    with closing(ProjectionStore(path)) as store:
        store.connection.execute("UPDATE progress SET applied_sequence = 7")
        with pytest.raises(StorageError) as caught:
            ProjectionStore(path, read_only=True)
        assert caught.value.code == "projections_busy"
    with closing(ProjectionStore(path, read_only=True)) as store:
        assert store.applied_sequence == 7
        assert Reading.of(path) is reading


def test_nothing_temporary_is_left(path: Path) -> None:
    """What one reader makes, or sets for all, the next does not meet."""
    _reading = Reading.of(path)
    with closing(ProjectionStore(path, read_only=True)) as store:
        store.connection.execute("CREATE TEMP VIEW mine AS SELECT 1")
        store.confine(path.parent)
        store.confine(path.parent)  # As another query at the same time does.
        assert store.connection.execute("SELECT current_setting('lock_configuration')").fetchone() == (True,)
    with closing(ProjectionStore(path, read_only=True)) as store:
        with pytest.raises(duckdb.CatalogException):
            store.connection.execute("SELECT * FROM mine")
        assert store.connection.execute("SELECT current_setting('enable_external_access')").fetchone() == (True,)


def test_an_engine_that_fails_is_started_anew(path: Path) -> None:
    """Where what stays cannot attach the file any more, another one is tried before anything is said."""
    reading = Reading.of(path)
    with closing(ProjectionStore(path, read_only=True)) as store:
        store.connection.execute("SET enable_external_access = false")
    with closing(ProjectionStore(path, read_only=True)) as store:
        assert store.applied_sequence == 0
    assert Reading.of(path) is reading
