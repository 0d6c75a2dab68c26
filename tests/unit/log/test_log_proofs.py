"""A proof file is believed only when every field of it is right, by the library and by the script in docs alike."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearwell.errors import DataError
from clearwell.log.merkle import inclusion_path, leaf_hash, root_at
from clearwell.log.proofs import Proof, differences, hexes, read_proof

SCRIPT = Path(__file__).parents[3] / "docs" / "verify_proof.py"


def event(sequence: int) -> str:
    content = {"id": f"evt_{sequence}", "properties": {"name": 'Zoë "Z" \u2028 😀'}, "sequence": sequence}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def proof(sequence: int, size: int) -> Proof:
    """The proof of an event in a log of `size` events."""
    leaves = [leaf_hash(event(number + 1).encode()) for number in range(size)]

    def node(level: int, position: int) -> bytes:
        return leaves[position] if level == 0 else root_of(level, position)

    def root_of(level: int, position: int) -> bytes:
        from clearwell.log.merkle import node_hash

        return node_hash(node(level - 1, 2 * position), node(level - 1, 2 * position + 1))

    path = inclusion_path(sequence - 1, size, node)
    return Proof(event(sequence), sequence - 1, size, hexes(path), root_at(size, node).hex())


def library(text: str, root: str, size: int | None = None) -> bool:
    try:
        return not differences(read_proof(text), root, size)
    except DataError:
        return False


def script(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = folder / "proof.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("sequence", "size"), [(1, 1), (1, 2), (2, 3), (3, 3), (5, 7), (7, 7), (8, 8)])
def test_a_true_proof_is_believed(tmp_path: Path, sequence: int, size: int) -> None:
    """The library and the script agree, with and without the size, and the script prints the event."""
    made = proof(sequence, size)
    assert read_proof(made.text()) == made
    assert library(made.text(), made.root)
    assert library(made.text(), made.root, size)
    assert not library(made.text(), made.root, size + 1)
    done = script(tmp_path, made.text(), made.root.upper(), str(size))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(made.event)
    assert script(tmp_path, made.text(), made.root, str(size + 1)).returncode == 1


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: {**content, **fields}


def path_changed(change: Callable[[list[str]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: {**content, "audit_path": change(content["audit_path"])}


TAMPERED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another event": changed(event=event(3).replace("evt_3", "evt_4")),
    "an event with a space": changed(event=event(3).replace(",", ", ")),
    "an event with a key twice": changed(event=event(3)[:-1] + ',"sequence":3}'),
    "an event that is no object": changed(event="3"),
    "an event that is a list": changed(event="[]"),
    "an event that is no JSON": changed(event="{"),
    "an event without a sequence": changed(event="{}"),
    "an event with half a character": changed(event='{"a":"\ud800"}'),
    "an event that goes too deep": changed(event="[" * 100_000),
    "an event of another type": changed(event={"sequence": 3}),
    "the place before": changed(leaf_index=1),
    "the place after": changed(leaf_index=3),
    "a place before the first": changed(leaf_index=-1),
    "a place as text": changed(leaf_index="2"),
    "a place as a fraction": changed(leaf_index=2.0),
    "a place as a truth value": changed(leaf_index=True),
    "a smaller tree": changed(tree_size=4),
    "a larger tree": changed(tree_size=9),
    "a tree that ends before the event": changed(tree_size=2),
    "no tree": changed(tree_size=0),
    "a size as text": changed(tree_size="7"),
    "a path with a hash changed": path_changed(lambda path: ["0" * 64, *path[1:]]),
    "a path that lacks its begin": path_changed(lambda path: path[1:]),
    "a path that lacks its end": path_changed(lambda path: path[:-1]),
    "a path with one more": path_changed(lambda path: [*path, path[0]]),
    "a path turned round": path_changed(lambda path: path[::-1]),
    "a path in capitals": path_changed(lambda path: [item.upper() for item in path]),
    "a path with spaces": path_changed(lambda path: [" " + path[0], *path[1:]]),
    "a path with a newline": path_changed(lambda path: [path[0] + "\n", *path[1:]]),
    "a path of numbers": path_changed(lambda path: [1, 2, 3]),
    "a path as text": path_changed("".join),
    "a path as an object": path_changed(dict.fromkeys),
    "no path": changed(audit_path=None),
    "another root": changed(root="0" * 64),
    "a root in capitals": lambda content: {**content, "root": content["root"].upper()},
    "no root": changed(root=None),
    "another format": changed(format="clearwell-proof-2"),
    "a field more": changed(note="believe me"),
    "a field less": lambda content: {name: value for name, value in content.items() if name != "tree_size"},
    "a list": lambda content: list(content.items()),
    "a number": lambda content: 7,
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_proof_is_not_believed(tmp_path: Path, case: str) -> None:
    """Whatever field is changed, both refuse, the script with exit code 1 and one line."""
    made = proof(3, 7)
    text = json.dumps(TAMPERED[case](json.loads(made.text())))
    assert not library(text, made.root)
    done = script(tmp_path, text, made.root)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("NOT PROVED: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_what_is_no_proof_is_refused(tmp_path: Path, text: str) -> None:
    """Other files are an error, not a failure."""
    with pytest.raises(DataError) as caught:
        read_proof(text)
    assert caught.value.code == "proof_invalid"
    assert script(tmp_path, text, "0" * 64).returncode == 1


def test_another_root_is_not_believed(tmp_path: Path) -> None:
    """A true proof proves nothing about another log."""
    made, other = proof(3, 7), proof(3, 8)
    assert [item.what for item in differences(made, other.root)] == ["root", "path from the event"]
    assert script(tmp_path, made.text(), other.root).returncode == 1


def test_the_size_is_only_known_with_the_size() -> None:
    """A root alone leaves open how many events follow where the path has the same shape: the size must be known too."""
    made = proof(1, 3)
    claimed = Proof(made.event, made.leaf_index, 4, made.audit_path, made.root)
    assert differences(claimed, made.root) == []
    assert [item.what for item in differences(claimed, made.root, 3)] == ["tree_size"]


def test_the_script_stays_small_and_needs_nothing() -> None:
    """The script has at most 60 lines, and imports from the standard library only."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    imported = {
        name
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
