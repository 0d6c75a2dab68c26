"""A proof that one event is in the log: what the file says, and what must hold. Needs a root, and no ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clearwell.errors import DataError
from clearwell.log.merkle import leaf_hash, root_from_inclusion

FORMAT = "clearwell-proof-1"

_HASH = re.compile("[0-9a-f]{64}")
_FIELDS = ("format", "event", "leaf_index", "tree_size", "audit_path", "root")


@dataclass(frozen=True)
class Proof:
    """The canonical text of an event, its place in a tree of `tree_size` leaves, and the hashes (hex) to the root."""

    event: str
    leaf_index: int
    tree_size: int
    audit_path: tuple[str, ...]
    root: str

    def text(self) -> str:
        """The proof file."""
        content = {
            "format": FORMAT,
            "event": self.event,
            "leaf_index": self.leaf_index,
            "tree_size": self.tree_size,
            "audit_path": list(self.audit_path),
            "root": self.root,
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Difference:
    """Something about a proof that is not as it must be."""

    what: str
    expected: str
    found: str


def read_proof(text: str) -> Proof:
    """The proof that a file holds. Raises DataError (`proof_invalid`) when it is none of this format."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("a JSON object", str(error)) from None
    if not isinstance(content, dict) or set(content) != set(_FIELDS):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise _invalid(f"an object with the fields {', '.join(_FIELDS)}", found or "none")
    if content["format"] != FORMAT:
        raise _invalid(f"format {FORMAT}", repr(content["format"]))
    for name in ("leaf_index", "tree_size"):
        if type(content[name]) is not int:
            raise _invalid(f"a whole number as {name}", repr(content[name]))
    hashes = content["audit_path"]
    if not isinstance(hashes, list):
        raise _invalid("a list as audit_path", repr(hashes))
    for name, value in [("root", content["root"]), *(("audit_path", item) for item in hashes)]:
        if not is_hash(value):
            raise _invalid(f"64 hexadecimal digits in {name}", repr(value))
    if not isinstance(content["event"], str):
        raise _invalid("the event as a text", type(content["event"]).__name__)
    return Proof(content["event"], content["leaf_index"], content["tree_size"], tuple(hashes), content["root"])


def is_hash(value: object) -> bool:
    """Whether this is a SHA-256 as it is written here: 64 small hexadecimal digits."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def differences(proof: Proof, root: str, size: int | None = None) -> list[Difference]:
    """Why the proof does not prove its event under `root`, of a tree of `size` leaves where that is known.

    Without `size`, the number of leaves is only known as far as the path has the shape of such a tree.
    """
    found = []
    if proof.root != root:
        found.append(Difference("root", root, proof.root))
    if size is not None and proof.tree_size != size:
        found.append(Difference("tree_size", str(size), str(proof.tree_size)))
    event = event_of(proof)
    if event is None:
        return [*found, Difference("event", "an event in its canonical form", proof.event[:200])]
    if event.get("sequence") != proof.leaf_index + 1:
        found.append(Difference("leaf_index", f"one less than sequence {event.get('sequence')}", str(proof.leaf_index)))
    path = [bytes.fromhex(item) for item in proof.audit_path]
    computed = root_from_inclusion(leaf_hash(proof.event.encode()), proof.leaf_index, proof.tree_size, path)
    if computed is None:
        expected = f"a path of leaf {proof.leaf_index} in a tree of {proof.tree_size}"
        found.append(Difference("audit_path", expected, f"{len(path)} hashes"))
    elif computed.hex() != root:
        found.append(Difference("path from the event", root, computed.hex()))
    return found


def event_of(proof: Proof) -> dict[str, Any] | None:
    """The event of a proof as an object; None when its text is not in the canonical form.

    The form is checked because a text with a key twice could be read in two ways.
    """
    try:
        event = json.loads(proof.event)
        same = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == proof.event
        proof.event.encode()
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and same else None


def hexes(hashes: Sequence[bytes]) -> tuple[str, ...]:
    """Hashes as a proof writes them."""
    return tuple(item.hex() for item in hashes)


def _invalid(expected: str, found: str) -> DataError:
    return DataError("proof_invalid", f"this is no proof file: expected {expected}, found {found[:200]}")
