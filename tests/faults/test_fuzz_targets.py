"""The promises that fuzzing holds the parsers to hold for the examples, for mutations of them, and can be broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fuzz
import fuzz_targets
import polars as pl
import pytest
from fuzz_targets import TARGETS, BrokenPromiseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearwell.ingest import blocks, ndjson, tables
from clearwell.log import checkpoints, proofs
from clearwell.values import times

ROOT = Path(__file__).parents[2]
CASES = [
    pytest.param(name, data, id=f"{name}-{number}")
    for name, target in TARGETS.items()
    for number, data in enumerate((*target.seeds, *target.found))
]


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """An example of the target with a few pieces removed, repeated, or replaced by bytes or by words that matter."""
    data = draw(st.sampled_from((*TARGETS[name].seeds, *TARGETS[name].found)))
    words = [word.encode() for word in TARGETS[name].words]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        piece = draw(st.one_of(st.sampled_from(words), st.binary(max_size=4), st.just(data[start:end] * 2)))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.fault("An input that fuzzing found, or an example, for one parser")
@pytest.mark.parametrize(("name", "data"), CASES)
def test_promises_hold_for_examples_and_found_inputs(name: str, data: bytes) -> None:
    """Every promise holds for the valid examples, and for every input that once broke one."""
    TARGETS[name].check(data)


@pytest.mark.fault("Any bytes, and mutations of examples, for one parser")
@pytest.mark.parametrize("name", TARGETS)
def test_promises_hold_for_any_bytes_and_for_mutations(name: str) -> None:
    """Whatever the bytes are, a parser answers as it promises."""

    @settings(max_examples=15, suppress_health_check=list(HealthCheck), database=None)
    @given(data=st.one_of(mutated(name), mutated(name), st.binary(max_size=200)))
    def holds(data: bytes) -> None:
        TARGETS[name].check(data)

    holds()


PARSERS = {
    "ndjson": (ndjson.NdjsonReader, "read"),
    "csv": (tables, "read_csv"),
    "flow": (fuzz_targets.load, "load_model"),
    "settings": (fuzz_targets.settings, "read_settings"),
    "instants": (times, "to_instants"),
    "proof": (proofs, "read_proof"),
    "checkpoint": (checkpoints, "read_checkpoint"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_another_exception_is_a_failure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a parser that raises ValueError, or any other nameless error, breaks its oracle."""
    fuzz_targets.model()  # Made while flows can still be read.

    def broken(*_: object, **__: object) -> Any:
        raise ValueError("broken")

    monkeypatch.setattr(*PARSERS[name], broken)
    with pytest.raises(ValueError, match="broken"):
        TARGETS[name].check(TARGETS[name].seeds[0])


def test_a_lost_line_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a reader that drops a record is found out."""
    whole = blocks.line_bounds
    monkeypatch.setattr(blocks, "line_bounds", lambda content: tuple(part[:-1] for part in whole(content)))
    with pytest.raises(BrokenPromiseError, match="every line that is not blank"):
        TARGETS["ndjson"].check(TARGETS["ndjson"].seeds[0])


def test_a_doubled_line_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a reader that yields a batch twice is found out."""
    read = ndjson.NdjsonReader.read

    def twice(self: ndjson.NdjsonReader, *arguments: Any) -> Iterator[Any]:
        for batch in read(self, *arguments):
            yield from (batch, batch)

    monkeypatch.setattr(ndjson.NdjsonReader, "read", twice)
    with pytest.raises(BrokenPromiseError, match="no line in two batches"):
        TARGETS["ndjson"].check(TARGETS["ndjson"].seeds[0])


def test_changed_money_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: an accepted amount that is not the line's is found out."""
    validate = fuzz_targets.validate

    def one_more(*arguments: Any) -> Any:
        found = validate(*arguments)
        events = found.events.with_columns(pl.col("amount_gross") + 1)
        return replace(found, events=events)

    monkeypatch.setattr(fuzz_targets, "validate", one_more)
    with pytest.raises(BrokenPromiseError, match="the amount gross"):
        TARGETS["ndjson"].check(TARGETS["ndjson"].seeds[0])


def test_a_lost_row_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a table's reader that skips rows of another width is found out."""
    monkeypatch.setattr(tables, "_csv_batch", _without_refused(tables._csv_batch))
    with pytest.raises(BrokenPromiseError, match=r"without a gap|every row"):
        TARGETS["csv"].check(TARGETS["csv"].seeds[0] + b"too,few\n")


def _without_refused(make: Any) -> Any:
    return lambda records, rows, _bad, source, model: make(records, rows, [], source, model)


def test_a_changed_proof_that_is_believed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a verifier that compares nothing is found out."""
    changed = TARGETS["proof"].seeds[0].replace(b"evt_1", b"evt_9")
    TARGETS["proof"].check(changed)
    monkeypatch.setattr(proofs, "differences", lambda *_: [])
    with pytest.raises(BrokenPromiseError, match="unchanged"):
        TARGETS["proof"].check(changed)


def test_a_changed_checkpoint_that_counts_as_signed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a signature that nobody compares is found out."""
    changed = TARGETS["checkpoint"].seeds[0].replace(b"\n5\n", b"\n6\n")
    TARGETS["checkpoint"].check(changed)
    monkeypatch.setattr(checkpoints.SignedCheckpoint, "is_signed_by", lambda *_: True)
    with pytest.raises(BrokenPromiseError, match="only what was signed"):
        TARGETS["checkpoint"].check(changed)


def test_the_command_knows_every_target() -> None:
    """The names that the command offers are those of the targets, in the same order."""
    assert tuple(TARGETS) == fuzz.NAMES


def test_what_fuzzing_installs_is_pinned() -> None:
    """The fuzzer's lock file pins versions and hashes, and names no host."""
    text = (ROOT / "requirements-fuzz.lock").read_text(encoding="utf-8")
    assert re.search(r"^atheris==[0-9.]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert "://" not in text
