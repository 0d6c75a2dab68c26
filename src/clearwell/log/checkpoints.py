"""Signed checkpoints: the size and root of the log's tree, in the text formats that transparency logs share.

The text is a C2SP `tlog-checkpoint`, signed as a C2SP `signed-note` with Ed25519. Rules only: keys are handed in.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clearwell.errors import DataError, UsageError
from clearwell.log.merkle import HASH_BYTES

_ED25519 = b"\x01"
_ID_BYTES = 4
_KEY_BYTES = 32
_MOST_SIGNATURES = 64
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<value>[A-Za-z0-9+/]+={0,2})")
_VERIFIER = re.compile(r"(?P<name>[^\s+\ud800-\udfff]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile("0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """What is signed: which log (`origin`), how many leaves, their root, and lines of the log's own."""

    origin: str
    tree_size: int
    root: bytes
    extension: tuple[str, ...] = ()

    def text(self) -> str:
        """The note's text: each line ends with a newline."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.tree_size), root, *self.extension))


@dataclass(frozen=True)
class Verifier:
    """A public key and the name of the log it signs for; as text, what others keep to check checkpoints with."""

    name: str
    key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature names its key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:_ID_BYTES]

    def text(self) -> str:
        """The key as one word."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.key).decode()}"


@dataclass(frozen=True)
class Signature:
    """A signature line of a note."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint with its signatures, whose truth `is_signed_by` tells."""

    checkpoint: Checkpoint
    signed_text: str
    signatures: tuple[Signature, ...]

    def is_signed_by(self, verifier: Verifier) -> bool:
        """Whether the verifier's key signed it. A wrong signature in its name spoils the note, whatever else it has."""
        named = [item for item in self.signatures if (item.name, item.key_id) == (verifier.name, verifier.key_id)]
        try:
            for item in named:
                Ed25519PublicKey.from_public_bytes(verifier.key).verify(item.value, self.signed_text.encode())
        except (InvalidSignature, ValueError):
            return False
        return bool(named)


def verifier_of(key: Ed25519PrivateKey) -> Verifier:
    """The public side of a log's key. Its name, which is also the checkpoints' origin, is made from the key itself."""
    public = key.public_key().public_bytes_raw()
    return Verifier(f"clearwell/{sha256(public).hexdigest()[:16]}", public)


def signed(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The checkpoint as a note signed with the log's key."""
    verifier, text = verifier_of(key), checkpoint.text()
    value = base64.b64encode(verifier.key_id + key.sign(text.encode())).decode()
    return f"{text}\n— {verifier.name} {value}\n"


def read_verifier(text: str) -> Verifier:
    """A verifier key from its text. Raises UsageError (`verifier_key_invalid`)."""
    match = _VERIFIER.fullmatch(text.strip())
    if match is not None:
        content = _decoded(match["key"])
        if len(content) == 1 + _KEY_BYTES and content[:1] == _ED25519:
            verifier = Verifier(match["name"], content[1:])
            if verifier.key_id.hex() == match["id"]:
                return verifier
    raise UsageError("verifier_key_invalid", f"expected a verifier key, NAME+ID+KEY, found {text[:200]!r}")


def read_checkpoint(text: str) -> SignedCheckpoint:
    """A signed checkpoint from a note's text. Raises DataError (`checkpoint_invalid`) when it has not that form."""
    body, separator, tail = text.rpartition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) < 3 or any(ord(character) < 0x20 for character in text.replace("\n", "")):
        raise _invalid("a text of at least three lines, an empty line, and signature lines", text)
    origin, size, root, *extension = lines
    if not origin or not _SIZE.fullmatch(size) or len(_decoded(root)) != HASH_BYTES or not all(extension):
        raise _invalid("lines of origin, tree size and base64 root, none empty", body)
    matches = [_SIGNATURE.fullmatch(line) for line in tail.removesuffix("\n").split("\n")]
    if not tail.endswith("\n") or len(matches) > _MOST_SIGNATURES:
        raise _invalid(f"at most {_MOST_SIGNATURES} signature lines that each end", tail)
    signatures = []
    for match in matches:
        value = _decoded(match["value"]) if match else b""
        if match is None or len(value) <= _ID_BYTES:
            raise _invalid("lines such as `— NAME SIGNATURE` at the end", tail)
        signatures.append(Signature(match["name"], value[:_ID_BYTES], value[_ID_BYTES:]))
    checkpoint = Checkpoint(origin, int(size), _decoded(root), tuple(extension))
    return SignedCheckpoint(checkpoint, body + "\n", tuple(signatures))


def _decoded(text: str) -> bytes:
    """The bytes of standard base64, in the one way to write them; none for another text."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return content if base64.b64encode(content).decode() == text else b""


def _invalid(expected: str, found: str) -> DataError:
    return DataError("checkpoint_invalid", f"this is no checkpoint: expected {expected}, found {found[:200]!r}")
