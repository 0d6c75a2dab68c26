"""Checkpoints are read, signed and checked as every transparency log does it."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clearwell.errors import DataError, UsageError
from clearwell.log.checkpoints import Checkpoint, Verifier, read_checkpoint, read_verifier, signed, verifier_of

SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB_NOTE = """\
go.sum database tree
6476701
mb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=

— sum.golang.org Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=
"""
"""A checkpoint of the Go checksum database, and its key."""

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
CHECKPOINT = Checkpoint(verifier_of(KEY).name, 3, bytes(range(32)), ("seal 1 ab", "manifest 1 cd"))


def test_a_checkpoint_of_a_public_log() -> None:
    """One of the Go checksum database is read, and its signature is right."""
    found = read_checkpoint(SUMDB_NOTE)
    assert found.checkpoint.origin == "go.sum database tree"
    assert found.checkpoint.tree_size == 6476701
    assert base64.b64encode(found.checkpoint.root).decode() == "mb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk="
    assert found.is_signed_by(read_verifier(SUMDB_KEY))
    assert read_verifier(SUMDB_KEY).text() == SUMDB_KEY
    assert found.checkpoint.text() == found.signed_text


def test_what_is_signed_is_read_back() -> None:
    """A signed checkpoint comes back as it was, signed by its key and by no other."""
    found = read_checkpoint(signed(CHECKPOINT, KEY))
    assert found.checkpoint == CHECKPOINT
    assert found.is_signed_by(read_verifier(verifier_of(KEY).text()))
    assert not found.is_signed_by(verifier_of(OTHER_KEY))


@pytest.mark.parametrize("line", range(5))
def test_no_line_can_be_changed(line: int) -> None:
    """The signature is over origin, size, root and the log's own lines."""
    lines = signed(CHECKPOINT, KEY).split("\n")
    lines[line] = {1: "4", 2: base64.b64encode(bytes(32)).decode()}.get(line, "other")
    assert not read_checkpoint("\n".join(lines)).is_signed_by(verifier_of(KEY))


def test_signatures_of_unknown_keys_are_passed_over() -> None:
    """A witness may add a line of its own; one in the log's name that is wrong spoils the note."""
    note = signed(CHECKPOINT, KEY)
    witness = "— witness.example/w " + base64.b64encode(bytes(76)).decode() + "\n"
    assert read_checkpoint(note + witness).is_signed_by(verifier_of(KEY))
    verifier = verifier_of(KEY)
    wrong = f"— {verifier.name} {base64.b64encode(verifier.key_id + bytes(64)).decode()}\n"
    assert not read_checkpoint(note + wrong).is_signed_by(verifier)
    assert not read_checkpoint(note + wrong.replace(verifier.name, "x")).is_signed_by(Verifier("x", verifier.key))


GOOD = signed(CHECKPOINT, KEY)
BROKEN = {
    "nothing": "",
    "no signature": CHECKPOINT.text(),
    "two lines": GOOD.split("\n", 1)[1].split("\n", 3)[0] + "\n\n" + GOOD.split("\n\n")[1],
    "size with a zero before it": GOOD.replace("\n3\n", "\n03\n"),
    "negative size": GOOD.replace("\n3\n", "\n-3\n"),
    "short root": GOOD.replace("AAECAwQF", ""),
    "root not in base64": GOOD.replace("AAECAwQF", "!AECAwQF"),
    "an empty line within": GOOD.replace("seal 1 ab", ""),
    "a carriage return": GOOD.replace("\n", "\r\n"),
    "no newline at the end": GOOD.removesuffix("\n"),
    "a hyphen for the dash": GOOD.replace("— ", "- "),
    "a signature of four bytes": GOOD.split("— ")[0] + "— x AAAAAA==\n",
    "too many signatures": GOOD + "— x AAAAAAAA\n" * 64,
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_checkpoint_is_refused(case: str) -> None:
    """Another form than the specified one is an error that says so."""
    with pytest.raises(DataError) as caught:
        read_checkpoint(BROKEN[case])
    assert caught.value.code == "checkpoint_invalid"


VERIFIER = verifier_of(KEY).text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        VERIFIER[:-4],
        VERIFIER.replace("+", "-"),
        "x" + VERIFIER,
        VERIFIER + "AAAA",
        SUMDB_KEY.replace("Ac4", "Bc4"),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    """A key of another form, with an identifier that does not fit, or of another algorithm, is an error."""
    with pytest.raises(UsageError) as caught:
        read_verifier(text)
    assert caught.value.code == "verifier_key_invalid"
