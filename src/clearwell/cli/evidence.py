"""Commands that make and check evidence for outsiders: seal, prove, verify-proof, checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearwell.cli.options import HERE, JsonOption, ProjectOption
from clearwell.cli.output import meter, print_json
from clearwell.cli.session import project as opened
from clearwell.errors import DataError, UsageError

if TYPE_CHECKING:
    from clearwell.log.checkpoints import SignedCheckpoint
    from clearwell.log.proofs import Difference, Proof

KeyOption = Annotated[
    str, typer.Option("--key", metavar="VERIFIER_KEY", help="Whose signature a checkpoint must have.")
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file. Default: standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(epilog="Example: clearwell seal")(seal)
    app.command(epilog="Example: clearwell prove evt_2 --out proof.json   or: clearwell prove '#2'")(prove)
    app.command("verify-proof", epilog="Example: clearwell verify-proof proof.json --root 5d41…")(verify_proof)
    app.command(epilog="Example: clearwell checkpoint --out checkpoint.txt   and once: clearwell checkpoint --key")(
        checkpoint
    )


def seal(
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="Also compute the stored roots of the tree's blocks anew from the log.")
    ] = False,
) -> None:
    """Commit the root of the Merkle tree over all events. What is sealed already is not read again."""
    from clearwell.application import sealing

    with opened(project) as workspace, meter("events") as shown:
        newest = sealing.seal(workspace, shown.advance)
        if blocks:
            sealing.rebuild_blocks(workspace, shown.advance)
    if as_json:
        print_json({"seal": None if newest is None else newest.__dict__})
    elif newest is None:
        typer.echo("There are no events to seal.")
    else:
        typer.echo(f"Seal {newest.number} covers {newest.tree_size:,} event(s), root {newest.root}.")


def prove(
    event: Annotated[str, typer.Argument(help="An event's id, or its sequence as '#2' (in quotes).")],
    project: ProjectOption = HERE,
    producer: Annotated[str, typer.Option("--producer", help="Whose event, where several have the id.")] = "",
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Prove it in the tree of so many events. Default: all sealed.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Prove it in the tree of this checkpoint.")
    ] = None,
    out: OutOption = None,
) -> None:
    """Write the proof that an event is in the log: a file that can be checked without the ledger.

    What is not sealed yet is sealed first.
    """
    from clearwell.application import proving

    if size is not None and checkpoint is not None:
        raise UsageError("options_conflict", "expected --size or --checkpoint, found both")
    tree = read_note(checkpoint).checkpoint if checkpoint else size
    with opened(project) as workspace, meter("events") as shown:
        proof = proving.prove(workspace, event, producer, tree, shown.advance)
    _put(proof.text(), out)
    if out is not None:
        place = f"event #{proof.leaf_index + 1} of {proof.tree_size:,}"
        typer.echo(f"{out} proves {place}, under root {proof.root}.")


def verify_proof(
    file: Annotated[Path, typer.Argument(help="A proof that `clearwell prove` wrote.")],
    root: Annotated[str, typer.Option("--root", metavar="HASH", help="The root hash it must lead to.")] = "",
    size: Annotated[int | None, typer.Option("--size", min=1, help="The size of the tree with that root.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Take root and size from this signed checkpoint.")
    ] = None,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check a proof. Needs no project and no ledger, only a root hash or a checkpoint that you got elsewhere.

    Exit 1 when the proof does not hold; each line says what differs.
    """
    from clearwell.log.proofs import differences, event_of, is_hash, read_proof

    if bool(root) == (checkpoint is not None):
        raise UsageError("root_missing", "expected either --root HASH, or --checkpoint FILE with --key VERIFIER_KEY")
    proof = read_proof(_text(file))
    if checkpoint is not None:
        content = _trusted(checkpoint, key).checkpoint
        root, size = content.root.hex(), content.tree_size
    root = root.lower()
    if not is_hash(root):
        raise UsageError("root_invalid", f"expected 64 hexadecimal digits as root, found {root!r}")
    found = differences(proof, root, size)
    event = event_of(proof) or {}
    if as_json:
        print_json({"ok": not found, "differences": [item.__dict__ for item in found], "event": event})
    else:
        _tell(proof, event, found, size)
    if found:
        raise typer.Exit(1)


def checkpoint(
    project: ProjectOption = HERE,
    out: OutOption = None,
    key: Annotated[bool, typer.Option("--key", help="Only print the key by which others check signatures.")] = False,
) -> None:
    """Seal the log and print a signed checkpoint: size and root of its tree, for others to keep.

    The verifier key goes to standard error. Give it to them once, by a way they trust.
    """
    from clearwell.application import checkpointing

    with opened(project) as workspace, meter("events") as shown:
        if key:
            typer.echo(checkpointing.verifier_key(workspace).text())
            return
        issued = checkpointing.checkpoint(workspace, shown.advance)
    _put(issued.note, out)
    typer.echo(f"Verifier key: {issued.verifier.text()}", err=True)


def read_note(path: Path) -> SignedCheckpoint:
    """The checkpoint in a file. Raises UsageError for a file that cannot be read, DataError for one that is none."""
    from clearwell.log.checkpoints import read_checkpoint

    return read_checkpoint(_text(path))


def _trusted(path: Path, key: str) -> SignedCheckpoint:
    """A checkpoint whose signature is that of `key`."""
    from clearwell.log.checkpoints import read_verifier

    if not key:
        raise UsageError(
            "checkpoint_key_missing", "expected --key VERIFIER_KEY, which says whose checkpoint to believe"
        )
    verifier, note = read_verifier(key), read_note(path)
    if not note.is_signed_by(verifier):
        raise DataError("checkpoint_signature_wrong", f"{path} has no right signature of {verifier.name}")
    return note


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise UsageError("file_unreadable", f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError("file_not_text", f"{path}: expected a text in UTF-8, found {error}") from error


def _put(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("file_not_writable", f"{out} cannot be written: {error}") from error


def _tell(proof: Proof, event: dict[str, Any], found: list[Difference], size: int | None) -> None:
    for item in found:
        typer.echo(f"{item.what}: expected {item.expected}, found {item.found}")
    if found:
        typer.echo("NOT PROVED.")
        return
    of = f" of {size:,}" if size is not None else ""
    typer.echo(f"Proved: event #{proof.leaf_index + 1}{of} under root {proof.root}")
    for name, value in event.items():
        if isinstance(value, dict):
            for inner, content in value.items():
                money = name == "amounts" and isinstance(content, dict)
                shown = f"{content.get('value')} {content.get('currency')}, in minor units" if money else content
                typer.echo(f"  {name}.{_printable(inner)}: {_printable(shown)}")
        else:
            typer.echo(f"  {name}: {_printable(value)}")


def _printable(value: object) -> str:
    """The value as one line that cannot move the cursor."""
    return "".join(item if item.isprintable() else item.encode("unicode_escape").decode("ascii") for item in str(value))
