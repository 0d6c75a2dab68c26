"""The file of keys: durable before it is used, readable for its owner alone, and without a trace of a destroyed key."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from clearwell.catalog.keys import FORMAT, KeyState, SubjectKeys
from clearwell.errors import StorageError
from clearwell.values.encrypted import KEY_BYTES, SubjectKey, Unreadable

NOW, LATER = "2026-01-01T00:00:00.000000Z", "2026-02-01T00:00:00.000000Z"


class Made:
    """Random bytes that are remembered, to look for them later."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        made = os.urandom(size)
        if size == KEY_BYTES:
            self.keys.append(made)
        return made


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


@pytest.fixture
def keys(path: Path, made: Made) -> Iterator[SubjectKeys]:
    with closing(SubjectKeys(path, made)) as opened:
        yield opened


def on_disk(path: Path) -> bytes:
    """Everything that SQLite keeps of the file."""
    return b"".join(item.read_bytes() for item in sorted(path.parent.iterdir()))


def secret_of(key: object) -> bytes:
    assert isinstance(key, SubjectKey)
    return key.secret


def test_a_subject_keeps_its_key(keys: SubjectKeys, path: Path) -> None:
    """Asked again, also from another process, a subject has the key and the identifier it had; another has others."""
    first = keys.for_subjects(["cus_1", "cus_2"], NOW)
    assert keys.for_subjects(["cus_2", "cus_1", "cus_3"], LATER) | first == keys.for_subjects(
        ["cus_1", "cus_2", "cus_3"], LATER
    )
    with closing(SubjectKeys(path, os.urandom)) as again:
        assert again.of_subject("cus_1") == first["cus_1"]
    assert secret_of(first["cus_1"]) != secret_of(first["cus_2"])


def test_a_key_is_found_by_its_identifier(keys: SubjectKeys) -> None:
    """The identifier in a stored value leads to its key; an unknown one to nothing, a forgotten one to ERASED."""
    found = keys.for_subjects(["cus_1", "cus_2"], NOW)
    identifiers = [key.identifier for key in found.values() if isinstance(key, SubjectKey)]
    keys.forget("cus_2", LATER)
    assert keys.by_identifier([*identifiers, "ff" * 12]) == {
        identifiers[0]: found["cus_1"],
        identifiers[1]: Unreadable.ERASED,
    }


def test_forgetting_is_final(keys: SubjectKeys) -> None:
    """A forgotten subject never gets a key again, and forgetting it once more changes nothing."""
    keys.for_subjects(["cus_1"], NOW)
    assert keys.forget("cus_1", LATER) is KeyState.DESTROYED
    assert keys.of_subject("cus_1") is Unreadable.ERASED
    assert keys.for_subjects(["cus_1"], LATER) == {"cus_1": Unreadable.ERASED}
    assert keys.forget("cus_1", LATER) is KeyState.DESTROYED_BEFORE


def test_a_subject_can_be_forgotten_before_it_comes(keys: SubjectKeys) -> None:
    """One that was never seen is remembered as forgotten."""
    assert keys.of_subject("cus_9") is None
    assert keys.forget("cus_9", NOW) is KeyState.NEVER_SEEN
    assert keys.for_subjects(["cus_9"], LATER) == {"cus_9": Unreadable.ERASED}
    assert keys.forget("cus_9", LATER) is KeyState.DESTROYED_BEFORE


def test_a_destroyed_key_is_nowhere(keys: SubjectKeys, path: Path, made: Made) -> None:
    """Whatever the order in which keys came and went, the files hold each living key once, and no destroyed one."""
    for start in range(0, 600, 7):
        keys.for_subjects([f"cus_{number}" for number in range(start, start + 7)], NOW)
    assert len(made.keys) == 602
    forgotten = set(range(0, 602, 5))
    for number in forgotten:
        assert keys.forget(f"cus_{number}", LATER) is KeyState.DESTROYED
        keys.for_subjects([f"late_{number}"], LATER)
    assert keys.forget("nobody", LATER) is KeyState.NEVER_SEEN
    content = on_disk(path)
    assert [content.count(key) for key in made.keys[:602]] == [int(number not in forgotten) for number in range(602)]
    assert [content.count(key) for key in made.keys[602:]] == [1] * len(forgotten)


def test_a_key_can_be_found_by_such_a_search(keys: SubjectKeys, path: Path) -> None:
    """The check can fail: a living key is in the files, byte for byte."""
    key = keys.for_subjects(["cus_1"], NOW)["cus_1"]
    assert secret_of(key) in on_disk(path)


def test_subjects_are_not_in_the_file(keys: SubjectKeys, path: Path) -> None:
    """The file knows subjects by a hash under a secret of its own, so that two files do not know each other's."""
    keys.for_subjects(["alice@example.com"], NOW)
    keys.forget("bob@example.com", NOW)
    assert b"example.com" not in on_disk(path)


def test_a_reader_of_old_pages_holds_the_erasure_up(
    keys: SubjectKeys, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody reads, the log may keep the key: that is said, and the same call does the rest later."""
    key = keys.for_subjects(["cus_1"], NOW)["cus_1"]
    monkeypatch.setattr("clearwell.catalog.transactions.BUSY_MILLISECONDS", 10)
    with closing(SubjectKeys(path, os.urandom)) as other:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM subjects").fetchone()
            with pytest.raises(StorageError) as caught:
                other.forget("cus_1", LATER)
            assert caught.value.code == "erasure_incomplete"
            assert other.of_subject("cus_1") is Unreadable.ERASED
        assert other.forget("cus_1", LATER) is KeyState.DESTROYED_BEFORE
    assert secret_of(key) not in on_disk(path)


def test_the_file_is_its_owner_s(keys: SubjectKeys, path: Path) -> None:
    """Nobody else may read the file, or what SQLite puts beside it."""
    keys.for_subjects(["cus_1"], NOW)
    assert {item.stat().st_mode & 0o777 for item in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) > 1


def test_a_file_opened_in_one_thread_is_closed_in_another(path: Path) -> None:
    """A query may open the keys in a thread of the engine; whoever asked closes them."""
    with ThreadPoolExecutor(1) as pool:
        keys = pool.submit(SubjectKeys, path, os.urandom).result()
        pool.submit(keys.for_subjects, ["cus_1"], NOW).result()
    assert isinstance(keys.of_subject("cus_1"), SubjectKey)
    keys.close()
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_later_format_is_refused(path: Path) -> None:
    """An older program says that it is too old."""
    SubjectKeys(path, os.urandom).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(StorageError) as caught:
        SubjectKeys(path, os.urandom)
    assert caught.value.code == "keys_too_new"


def test_a_damaged_file_is_a_storage_error(path: Path) -> None:
    """A file that is no database is named, and left as it is."""
    path.write_bytes(b"no database at all, but long enough to look at" * 100)
    with pytest.raises(StorageError) as caught:
        SubjectKeys(path, os.urandom)
    assert caught.value.code == "keys_unusable"
