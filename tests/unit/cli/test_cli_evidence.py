"""The commands that make and check evidence: seal, prove, verify-proof, checkpoint, and verify against checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from clearwell.cli.main import main
from clearwell.errors import ClearwellError
from clearwell.log.proofs import Proof
from clearwell.project import open_project

SCRIPT = Path(__file__).parents[3] / "docs" / "verify_proof.py"


@dataclass(frozen=True)
class Evidence:
    """What a log of three events has handed out: a proof of the second one, a checkpoint, and its key."""

    project: Path
    proof: Path
    checkpoint: Path
    key: str
    root: str


Ran = tuple[int, str, str]
Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process; gives exit code, output and errors."""

    def act(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(item) for item in arguments])
        return code, *capsys.readouterr()

    return act


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("evidence")
    shop, proof, checkpoint = folder / "shop", folder / "proof.json", folder / "checkpoint.txt"
    assert main(["init", str(shop)]) == 0
    assert main(["ingest", str(shop / "events" / "first.ndjson"), "-p", str(shop)]) == 0
    assert main(["prove", "#2", "-p", str(shop), "--out", str(proof)]) == 0
    assert main(["checkpoint", "-p", str(shop), "--out", str(checkpoint)]) == 0
    with open_project(shop) as project:
        key = project.checkpoint().verifier.text()
    return Evidence(shop, proof, checkpoint, key, json.loads(proof.read_text())["root"])


def test_seal_says_what_it_covers(run: Run, evidence: Evidence, tmp_path: Path) -> None:
    """It prints the newest seal; with --json the whole row; and does nothing twice."""
    code, out, _ = run("seal", "-p", evidence.project)
    assert (code, out) == (0, f"Seal 1 covers 3 event(s), root {evidence.root}.\n")
    code, out, _ = run("seal", "-p", evidence.project, "--json", "--blocks")
    assert (code, json.loads(out)["seal"]["root"]) == (0, evidence.root)
    assert run("init", tmp_path / "new")[0] == 0
    assert run("check", "-p", tmp_path / "new", "--accept")[0] == 0
    assert run("seal", "-p", tmp_path / "new")[:2] == (0, "There are no events to seal.\n")


def test_prove_prints_what_it_writes(run: Run, evidence: Evidence, tmp_path: Path) -> None:
    """Without --out the proof is on standard output alone; by id and by sequence it is the same."""
    by_sequence = run("prove", "#2", "-p", evidence.project)
    assert by_sequence == (0, evidence.proof.read_text(encoding="utf-8"), "")
    event = json.loads(json.loads(by_sequence[1])["event"])
    assert run("prove", event["id"], "--producer", event["producer"], "-p", evidence.project) == by_sequence
    assert run("prove", "#2", "--checkpoint", evidence.checkpoint, "-p", evidence.project) == by_sequence
    smaller = json.loads(run("prove", "#2", "--size", "2", "-p", evidence.project)[1])
    assert smaller["tree_size"] == 2
    code, out, _ = run("prove", "#2", "-p", evidence.project, "--out", tmp_path / "p.json")
    assert code == 0
    assert "proves event #2 of 3, under root" in out


def test_a_proof_is_checked_outside_any_project(
    run: Run, evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the root, or a checkpoint and its key, the event is printed, and exit code 0."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("verify-proof", evidence.proof, "--root", evidence.root.upper())
    assert code == 0
    assert out.startswith(f"Proved: event #2 under root {evidence.root}\n")
    assert "  amounts.gross: 2500 USD, in minor units\n" in out
    code, out, _ = run("verify-proof", evidence.proof, "--checkpoint", evidence.checkpoint, "--key", evidence.key)
    assert code == 0
    assert out.startswith("Proved: event #2 of 3 under root")
    code, out, _ = run("verify-proof", evidence.proof, "--root", evidence.root, "--size", 3, "--json")
    assert (code, json.loads(out)["ok"], json.loads(out)["event"]["sequence"]) == (0, True, 2)
    assert list(tmp_path.iterdir()) == []


TAMPERED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "event": lambda proof: {**proof, "event": proof["event"].replace("2500", "9500")},
    "leaf_index": lambda proof: {**proof, "leaf_index": 2},
    "tree_size": lambda proof: {**proof, "tree_size": 5},
    "audit_path": lambda proof: {**proof, "audit_path": proof["audit_path"][::-1]},
    "root": lambda proof: {**proof, "root": "0" * 64},
    "format": lambda proof: {**proof, "format": "clearwell-proof-0"},
    "nothing": lambda proof: proof,
}


@pytest.mark.parametrize("field", TAMPERED)
def test_the_command_and_the_script_agree(run: Run, evidence: Evidence, tmp_path: Path, field: str) -> None:
    """For each field that is tampered with, the command and the script of the documentation give the same verdict."""
    proof = json.loads(evidence.proof.read_text(encoding="utf-8"))
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(TAMPERED[field](proof)), encoding="utf-8")
    code, out, err = run("verify-proof", path, "--root", evidence.root)
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(path), evidence.root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert code == done.returncode == (0 if field == "nothing" else 1)
    assert field == "nothing" or "expected" in out + err


def test_an_event_cannot_write_over_the_verdict(run: Run, tmp_path: Path) -> None:
    """Texts of an event are printed in one line each, with control characters spelled out."""
    event = {"amounts": {"gross": 7}, "properties": {"a\n": "\x1b[2J\nProved: all"}, "sequence": 1, "type": "é"}
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    root = sha256(b"\0" + text.encode()).hexdigest()
    path = tmp_path / "proof.json"
    path.write_text(Proof(text, 0, 1, (), root).text(), encoding="utf-8")
    code, out, _ = run("verify-proof", path, "--root", root)
    assert code == 0
    assert out.splitlines()[1:] == [
        "  amounts.gross: 7",
        r"  properties.a\n: \x1b[2J\nProved: all",
        "  sequence: 1",
        "  type: é",
    ]


def test_another_checkpoint_or_size_is_refused(run: Run, evidence: Evidence, tmp_path: Path) -> None:
    """A size that is not the tree's, and a checkpoint with a wrong signature, prove nothing."""
    code, out, _ = run("verify-proof", evidence.proof, "--root", evidence.root, "--size", 4)
    assert (code, out) == (1, "tree_size: expected 4, found 3\nNOT PROVED.\n")
    changed = tmp_path / "changed.txt"
    changed.write_text(evidence.checkpoint.read_text(encoding="utf-8").replace("\n3\n", "\n4\n"), encoding="utf-8")
    code, _, err = run("verify-proof", evidence.proof, "--checkpoint", changed, "--key", evidence.key)
    assert code == 1
    assert "[checkpoint_signature_wrong]" in err


def test_checkpoint_prints_note_and_key_apart(run: Run, evidence: Evidence) -> None:
    """The note is on standard output, the verifier key on standard error; --key prints the key alone."""
    code, out, err = run("checkpoint", "-p", evidence.project)
    assert (code, out) == (0, evidence.checkpoint.read_text(encoding="utf-8"))
    assert err == f"Verifier key: {evidence.key}\n"
    assert run("checkpoint", "--key", "-p", evidence.project) == (0, f"{evidence.key}\n", "")


def test_verify_takes_checkpoints(run: Run, evidence: Evidence, tmp_path: Path) -> None:
    """Several checkpoints, with the key given or the folder's own; one that is contradicted is a fault."""
    twice = ["--checkpoint", evidence.checkpoint, "--checkpoint", evidence.checkpoint]
    assert run("verify", "-p", evidence.project, *twice)[0] == 0
    assert run("verify", "-p", evidence.project, *twice, "--key", evidence.key)[0] == 0
    assert run("init", tmp_path / "other")[0] == 0
    assert run("ingest", tmp_path / "other" / "events" / "first.ndjson", "-p", tmp_path / "other")[0] == 0
    code, out, _ = run("verify", "-p", tmp_path / "other", *twice[:2], "--key", evidence.key)
    assert code == 1
    assert "checkpoint_contradicted: checkpoint" in out
    code, _, err = run("verify", "-p", tmp_path / "other", *twice[:2])
    assert code == 2
    assert "[checkpoint_key_missing]" in err


def test_verify_says_what_no_seal_covers(run: Run, tmp_path: Path) -> None:
    """Events beyond the newest seal are no fault, and are said."""
    assert run("init", tmp_path)[0] == 0
    assert run("ingest", tmp_path / "events" / "first.ndjson", "-p", tmp_path)[0] == 0
    with open_project(tmp_path) as project:
        missing = project.verify().events - project.verify().sealed
    code, out, _ = run("verify", "-p", tmp_path)
    assert code == 0
    assert (f"{missing} event(s) are under no seal yet" in out) == (missing > 0)
    assert run("seal", "-p", tmp_path)[0] == 0
    assert "under no seal" not in run("verify", "-p", tmp_path)[1]


def test_from_python(evidence: Evidence) -> None:
    """The same from Python: seal, prove, checkpoint, and verify against texts of checkpoints."""
    with open_project(evidence.project) as project:
        seal = project.seal()
        assert seal is not None
        assert seal.root == evidence.root == project.prove("#1").root
        note = project.checkpoint().note
        assert project.verify(note).faults == project.verify(note, key=evidence.key).faults == ()
        with pytest.raises(ClearwellError):
            project.verify(note, key="none")


WRONG_USE: dict[str, tuple[list[str], str]] = {
    "no root": (["verify-proof", "PROOF"], "root_missing"),
    "root and checkpoint": (["verify-proof", "PROOF", "--root", "00", "--checkpoint", "NOTE"], "root_missing"),
    "a root that is none": (["verify-proof", "PROOF", "--root", "abc"], "root_invalid"),
    "a checkpoint without key": (["verify-proof", "PROOF", "--checkpoint", "NOTE"], "checkpoint_key_missing"),
    "a key that is none": (["verify-proof", "PROOF", "--checkpoint", "NOTE", "--key", "x"], "verifier_key_invalid"),
    "no such proof": (["verify-proof", "absent.json", "--root", "0" * 64], "file_unreadable"),
    "size and checkpoint": (["prove", "#1", "--size", "1", "--checkpoint", "NOTE", "-p", "SHOP"], "options_conflict"),
    "no such event": (["prove", "evt_99", "-p", "SHOP"], "event_unknown"),
    "a size beyond the log": (["prove", "#1", "--size", "9", "-p", "SHOP"], "tree_size_unknown"),
    "a folder to write to": (["prove", "#1", "-p", "SHOP", "--out", "SHOP"], "file_not_writable"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_exits_2(run: Run, evidence: Evidence, case: str) -> None:
    """What cannot be meant is an error with a code."""
    words, code = WRONG_USE[case]
    places = {"PROOF": evidence.proof, "NOTE": evidence.checkpoint, "SHOP": evidence.project}
    exit_code, _, err = run(*(places.get(word, word) for word in words))
    assert exit_code == 2
    assert f"[{code}]" in err


def test_other_files_exit_1(run: Run, evidence: Evidence, tmp_path: Path) -> None:
    """A file that is no proof, no checkpoint or no text is bad data."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    code, _, err = run("verify-proof", binary, "--root", "0" * 64)
    assert code == 1
    assert "[file_not_text]" in err
    code, _, err = run("verify-proof", evidence.checkpoint, "--root", "0" * 64)
    assert code == 1
    assert "[proof_invalid]" in err
    code, _, err = run("verify-proof", evidence.proof, "--checkpoint", evidence.proof, "--key", evidence.key)
    assert code == 1
    assert "[checkpoint_invalid]" in err
