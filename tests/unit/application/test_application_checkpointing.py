"""Checkpoints that somebody kept convict a log that was truncated or written anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clearwell.application import checkpointing, compacting, modelling, proving, sealing, verifying
from clearwell.application.checkpointing import IssuedCheckpoint
from clearwell.application.verifying_seals import KeptCheckpoint
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.log.checkpoints import Verifier, read_checkpoint

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]


def issued(ledger: Ledger) -> IssuedCheckpoint:
    with ledger.open() as workspace:
        return checkpointing.checkpoint(workspace)


def codes(ledger: Ledger, kept: IssuedCheckpoint, verifier: Verifier | None = None) -> set[str]:
    """The faults of the log against a checkpoint that was kept with its key."""
    note = KeptCheckpoint("kept", read_checkpoint(kept.note), verifier or kept.verifier)
    with ledger.open() as workspace:
        return {fault.code for fault in verifying.verify(workspace, checkpoints=[note]).faults}


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """Two segments of one event each."""
    ledger.ingest(creation())
    ledger.ingest(release())
    return ledger


def test_a_checkpoint_says_what_is_sealed(filled: Ledger) -> None:
    """It has size and root of the newest seal, the seal, and the manifest row it ends with, signed."""
    found = issued(filled)
    note = read_checkpoint(found.note)
    assert note.is_signed_by(found.verifier)
    assert note.checkpoint.origin == found.verifier.name
    assert (note.checkpoint.tree_size, note.checkpoint.root.hex()) == (2, found.seal.root)
    assert note.checkpoint.extension == (f"seal 1 {found.seal.hash}", f"manifest 2 {found.seal.segment_hash}")
    assert issued(filled).note == found.note


def test_a_log_that_grew_agrees_with_its_checkpoints(filled: Ledger, creation: Make) -> None:
    """More events and compaction contradict no checkpoint, sealed or not."""
    kept = issued(filled)
    filled.ingest(creation(id="evt_9"))
    assert codes(filled, kept) == set()
    with filled.open() as workspace:
        compacting.compact(workspace)
    assert codes(filled, kept) == set()
    later = issued(filled)
    assert read_checkpoint(later.note).checkpoint.tree_size == 3
    assert codes(filled, later) == codes(filled, kept) == set()


@pytest.mark.catalog_file
def test_a_truncated_log_is_convicted(filled: Ledger, creation: Make) -> None:
    """A log whose newest events were cut off, with every trace of them, is shorter than the checkpoint."""
    before = filled.folder / "before"
    issued(filled)
    shutil.copytree(filled.data, before)
    filled.ingest(creation(id="evt_9"))
    kept = issued(filled)
    shutil.rmtree(filled.data)
    before.rename(filled.data)
    assert filled.fault_codes() == set()
    assert codes(filled, kept) == {"log_shorter_than_checkpoint"}
    with filled.open() as workspace, pytest.raises(DataError) as caught:
        proving.prove(workspace, "evt_1", tree=read_checkpoint(kept.note).checkpoint)
    assert caught.value.code == "log_shorter_than_checkpoint"


def test_a_rewritten_log_is_convicted(filled: Ledger, new_ledger: NewLedger, creation: Make, release: Make) -> None:
    """A log written anew with one amount changed, sealed, and sound in itself, has another root."""
    kept = issued(filled)
    forged = new_ledger()
    forged.ingest(creation(amounts={"gross": {"value": 1001, "currency": "USD"}}))
    forged.ingest(release())
    issued(forged)
    assert forged.fault_codes() == set()
    assert codes(forged, kept) == {"checkpoint_contradicted"}
    with forged.open() as workspace, pytest.raises(DataError) as caught:
        proving.prove(workspace, "evt_1", tree=read_checkpoint(kept.note).checkpoint)
    assert caught.value.code == "checkpoint_contradicted"


def test_seals_made_anew_are_convicted(filled: Ledger) -> None:
    """The same events under other seals contradict the checkpoint's own lines."""
    kept = issued(filled)
    with filled.catalog() as connection:
        connection.exec_driver_sql("DELETE FROM seals")
    assert codes(filled, kept) == {"checkpoint_contradicted"}
    filled.clock.advance(days=1)
    with filled.open() as workspace:
        sealing.seal(workspace)
    assert codes(filled, kept) == {"checkpoint_contradicted"}


def test_a_signature_of_another_key_convinces_nobody(filled: Ledger, new_ledger: NewLedger) -> None:
    """A checkpoint that was changed, or that another key signed, is told, and nothing is concluded from it."""
    kept = issued(filled)
    with new_ledger().open() as workspace:
        other = checkpointing.verifier_key(workspace)
    assert codes(filled, kept, other) == {"checkpoint_signature_wrong"}
    changed = IssuedCheckpoint(kept.seal, kept.note.replace("\n2\n", "\n9\n"), kept.verifier)
    assert codes(filled, changed) == {"checkpoint_signature_wrong"}


def test_an_event_is_proved_in_the_tree_of_a_checkpoint(filled: Ledger, creation: Make) -> None:
    """Whoever kept an old checkpoint gets proofs against it."""
    kept = read_checkpoint(issued(filled).note).checkpoint
    filled.ingest(creation(id="evt_9"))
    with filled.open() as workspace:
        proof = proving.prove(workspace, "evt_2", tree=kept)
        assert (proof.tree_size, proof.root) == (2, kept.root.hex())
        with pytest.raises(UsageError) as caught:
            proving.prove(workspace, "evt_9", tree=kept)
        assert caught.value.code == "event_not_in_tree"


def test_the_key_is_made_once_for_its_owner_alone(filled: Ledger) -> None:
    """The first use makes it; nobody else can read it; it stays the same, and leaves no second file."""
    with filled.open() as workspace:
        with pytest.raises(UsageError) as caught:
            checkpointing.known_verifier(workspace)
        assert caught.value.code == "checkpoint_key_missing"
        first = checkpointing.verifier_key(workspace)
        assert checkpointing.known_verifier(workspace) == checkpointing.verifier_key(workspace) == first
    (path,) = filled.data.glob("*checkpoint-key*")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in filled.data.glob(".*")] == []


def test_two_that_make_the_key_at_once_have_one(
    filled: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The key that is there first is the log's."""
    path = tmp_path / "checkpoint-key.pem"
    checkpointing._make_key(path)
    content = path.read_bytes()
    checkpointing._make_key(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_key_is_an_error(filled: Ledger) -> None:
    """A damaged key, and one of another algorithm, stop with a code; no new one is put in its place."""
    path = filled.data / "checkpoint-key.pem"
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"no key", other):
        path.write_bytes(content)
        with filled.open() as workspace, pytest.raises(StorageError) as caught:
            checkpointing.checkpoint(workspace)
        assert caught.value.code == "checkpoint_key_unusable"
        assert path.read_bytes() == content


def test_an_empty_log_has_no_checkpoint(ledger: Ledger) -> None:
    """There is nothing to sign."""
    with ledger.open() as workspace:
        modelling.accept_model(workspace)
        with pytest.raises(UsageError):
            checkpointing.checkpoint(workspace)
