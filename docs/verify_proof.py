"""Checks that an event is in a Clearwell log, without the log. Needs Python 3.8 or later, and nothing else.

    python verify_proof.py FILE ROOT [SIZE]

FILE is what `clearwell prove` wrote. ROOT (and SIZE) are root hash and size of the log's Merkle tree (RFC 6962), which
you have from elsewhere, such as a signed checkpoint. Exits with 0 and prints the event when it is proved, else with 1.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

FIELDS = {"format": str, "event": str, "leaf_index": int, "tree_size": int, "audit_path": list, "root": str}


def require(holds, complaint):
    if not holds:
        raise ValueError(complaint)


def sha256(data):
    return hashlib.sha256(data).digest()


def root_of(leaf, index, size, path):  # The last hash of the path is the other half of the whole tree.
    require((size > 1) == bool(path), "audit_path has not the length of a path to this leaf in a tree of this size")
    if size == 1:
        return leaf
    left = 1 << (size - 1).bit_length() - 1  # The largest power of two below the size.
    if index < left:
        return sha256(b"\x01" + root_of(leaf, index, left, path[:-1]) + path[-1])
    return sha256(b"\x01" + path[-1] + root_of(leaf, index - left, size - left, path[:-1]))


def proved(proof, root, size):
    require({name: type(value) for name, value in proof.items()} == FIELDS, "a field is missing, unknown or malformed")
    require(proof["format"] == "clearwell-proof-1", "this is no proof of format clearwell-proof-1")
    for text in [root, proof["root"], *proof["audit_path"]]:
        require(re.fullmatch("[0-9a-f]{64}", text), "a hash is not 64 hexadecimal digits")
    require(proof["root"] == root and size in (None, proof["tree_size"]), "this is a proof for another tree")
    event = json.loads(proof["event"])
    canonical = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    require(proof["event"] == canonical, "the event is not in its canonical form")
    require(event["sequence"] == proof["leaf_index"] + 1, "the event's sequence is not its place in the tree")
    require(0 <= proof["leaf_index"] < proof["tree_size"], "leaf_index is not in the tree")
    leaf, path = sha256(b"\x00" + canonical.encode()), [bytes.fromhex(text) for text in proof["audit_path"]]
    found = root_of(leaf, proof["leaf_index"], proof["tree_size"], path).hex()
    require(found == root, f"the event and its path lead to the root {found}")
    return event


if __name__ == "__main__":
    try:
        size = int(sys.argv[3]) if len(sys.argv) > 3 else None
        content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        print(json.dumps(proved(content, sys.argv[2].lower(), size), indent=2))
    except Exception as error:
        sys.exit(f"NOT PROVED: {error!r}")
