"""Signed checkpoints of the log, for others to keep; and the key that signs them, made when it is first needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from clearwell.application.auditing import note_after
from clearwell.application.sealing import Progress, seal
from clearwell.application.workspace import Workspace
from clearwell.errors import StorageError, UsageError
from clearwell.log.checkpoints import Checkpoint, Verifier, signed, verifier_of
from clearwell.log.seals import Seal


@dataclass(frozen=True)
class IssuedCheckpoint:
    """The seal that a checkpoint is of, the signed note, and the key to check it with."""

    seal: Seal
    note: str
    verifier: Verifier


def checkpoint(workspace: Workspace, report: Progress = lambda _count: None) -> IssuedCheckpoint:
    """Seal what is not sealed, and sign the newest seal's tree. Raises UsageError for a log without events."""
    newest = seal(workspace, report)
    if newest is None:
        raise UsageError("ledger_empty", "there are no events to make a checkpoint of")
    key = _signing_key(workspace)
    lines = (
        f"seal {newest.number} {newest.hash}",
        f"manifest {newest.segment_number} {newest.segment_hash}",
    )
    verifier = verifier_of(key)
    content = Checkpoint(verifier.name, newest.tree_size, bytes.fromhex(newest.root), lines)
    note_after(workspace, "checkpoint.sign", str(newest.tree_size), root=newest.root)
    return IssuedCheckpoint(newest, signed(content, key), verifier)


def verifier_key(workspace: Workspace) -> Verifier:
    """The public key of this log's checkpoints; the pair is made when there is none."""
    return verifier_of(_signing_key(workspace))


def known_verifier(workspace: Workspace) -> Verifier:
    """The public key of this log's checkpoints. Raises UsageError when none was ever made."""
    if not _key_path(workspace).exists():
        raise UsageError("checkpoint_key_missing", "this log has no key: say with --key whose signature is expected")
    return verifier_of(_signing_key(workspace))


def _key_path(workspace: Workspace) -> Path:
    return workspace.data_folder / "checkpoint-key.pem"


def _signing_key(workspace: Workspace) -> Ed25519PrivateKey:
    """The log's key, which only its owner can read. Raises StorageError when the file holds none."""
    path = _key_path(workspace)
    if not path.exists():
        _make_key(path)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        raise StorageError("checkpoint_key_unusable", f"{path} cannot be read as a key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StorageError("checkpoint_key_unusable", f"{path}: expected an Ed25519 key, found {type(key).__name__}")
    return key


def _make_key(path: Path) -> None:
    """Make a key, durably and whole or not at all; where two do it at once, the first one's key is the log's."""
    content = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            return
        finally:
            aside.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StorageError("checkpoint_key_unusable", f"{path} cannot be written: {error}") from error
