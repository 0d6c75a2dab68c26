"""Small files that stand for very much: memory is bounded, and what is whole comes in or is named.

Each case runs in a process of its own, whose largest resident memory is measured. About 250 MB of it are the libraries.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from aftermath import prove, waiting

if TYPE_CHECKING:
    from conftest import Ledger

MEGABYTE = 1 << 20
MOST_MEMORY = 2_000 * MEGABYTE
"""Generous: what is read at a time is 48 MB, and the columns of a batch are a few times its text."""

_CHILD = """
import resource, sys
from clearwell.cli.main import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
sys.exit(code)
"""


def ingested(ledger: Ledger, path: Path) -> tuple[dict[str, Any], str]:
    """Ingest in a process of its own, within the memory; returns the receipt, or else the code of the error."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, "ingest", str(path), "--project", str(ledger.folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=ledger.environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    peak = done.stderr.strip().splitlines()[-1]
    errors = [item for item in done.stderr.splitlines() if item.startswith('{"error"')]
    assert peak.startswith("peak "), done.stderr[-1_000:]
    assert int(peak.split()[1]) < MOST_MEMORY
    assert done.returncode in {0, 1}, done.stderr[-1_000:]
    return (json.loads(done.stdout) if done.stdout else {}), (json.loads(errors[-1])["error"]["code"] if errors else "")


def packed(ledger: Ledger, name: str, pieces: Iterable[bytes]) -> Path:
    path = ledger.folder / name
    with gzip.open(path, "wb") if name.endswith(".gz") else pa.CompressedOutputStream(str(path), "zstd") as file:
        for piece in pieces:
            file.write(piece)
    assert path.stat().st_size < 4 * MEGABYTE
    return path


def good(creations: Callable[..., list[dict[str, Any]]]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in creations(1, 3))


@pytest.mark.fault("A compressed file of one endless line")
@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_an_endless_line(ledger: Ledger, creations: Callable[..., Any], ending: str) -> None:
    """Half a gigabyte without a line feed stop the file by name within the memory; the lines before them are in."""
    pieces = [good(creations), *[b"x" * (8 * MEGABYTE)] * 64]
    receipt, code = ingested(ledger, packed(ledger, f"bomb.ndjson.{ending}", pieces))
    assert (receipt, code) == ({}, "line_too_long")
    prove(ledger, ["evt_1", "evt_2", "evt_3"])
    assert ledger.ingest(*creations(1, 3)).duplicates == 3
    prove(ledger, ["evt_1", "evt_2", "evt_3"])


def _blank() -> Iterator[bytes]:
    return iter([b"\n" * (16 * MEGABYTE)])


def _tiny() -> Iterator[bytes]:
    return iter([b"0\n" * 100_000])


def _long() -> Iterator[bytes]:
    return (b'{"id":"' + b"x" * (10 * MEGABYTE) + b'"}\n' for _ in range(8))


@pytest.mark.fault("A compressed file of very many, very short or very long lines")
@pytest.mark.parametrize(
    ("lines", "refused", "ending"),
    [(_blank, 0, "zst"), (_tiny, 100_000, "gz"), (_long, 8, "gz"), (_long, 8, "zst")],
    ids=["blank", "tiny", "long-gz", "long-zst"],
)
def test_a_bomb_of_lines(
    ledger: Ledger, creations: Callable[..., Any], lines: Callable[[], Iterator[bytes]], refused: int, ending: str
) -> None:
    """Each is read within the memory; every record is counted, and the good ones around them are accepted."""
    first, *rest = creations(1, 3)
    around = [json.dumps(first).encode() + b"\n"], [json.dumps(item).encode() + b"\n" for item in rest]
    path = packed(ledger, f"bomb.ndjson.{ending}", [*around[0], *lines(), *around[1]])
    receipt, code = ingested(ledger, path)
    assert (code, receipt["accepted"], receipt["quarantined"]) == ("", 3, refused)
    assert len(waiting(ledger)) == refused
    prove(ledger, ["evt_1", "evt_2", "evt_3"])


HEADER = b"type,id,effective_at,occurred_at,currency,property_charge,property_business,property_network,amount_gross\n"
CSV_BOMBS = {
    "endless_header": ([b"x" * MEGABYTE] * 256, "csv_unreadable"),
    "endless_row": ([HEADER, *[b"x" * MEGABYTE] * 512], "csv_unreadable"),
    "endless_cell": ([HEADER, b'"', *[b"x\n" * (MEGABYTE // 2)] * 512], "csv_unreadable"),
    "rows_that_do_not_fit": ([HEADER, *[b"x\n" * (MEGABYTE // 2)] * 16], "csv_unreadable"),
    "endless_columns": ([b"a," * (MEGABYTE // 2)] * 64, "csv_unreadable"),
}


@pytest.mark.fault("A compressed bomb of CSV")
@pytest.mark.parametrize("case", CSV_BOMBS)
def test_a_bomb_of_csv(ledger: Ledger, creations: Callable[..., Any], case: str) -> None:
    """It is stopped by name within the memory, and the ledger takes the next file."""
    pieces, expected = CSV_BOMBS[case]
    assert ingested(ledger, packed(ledger, "bomb.csv.gz", pieces)) == ({}, expected)
    assert ledger.ingest(*creations(1, 3)).accepted == 3
    prove(ledger, ["evt_1", "evt_2", "evt_3"])


def _columns(count: int, text: str) -> pa.Table:
    names = HEADER.decode().strip().split(",")
    columns: dict[str, pa.Array] = {name: pa.repeat("x", count) for name in names}
    columns["amount_gross"] = pa.repeat(pa.scalar(1), count)
    columns["property_charge"] = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), [text])
    return pa.table(columns)


@pytest.mark.fault("An Arrow or Parquet file whose few bytes stand for many rows, or many bytes")
@pytest.mark.parametrize("kind", ["arrows", "arrow.gz", "parquet"])
def test_a_bomb_of_a_table(ledger: Ledger, creations: Callable[..., Any], kind: str) -> None:
    """A file of a few megabytes that unpacks to gigabytes is read piece by piece, or stopped by name."""
    path = ledger.folder / f"bomb.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(_columns(20_000, "x" * 100_000), path, row_group_size=20_000)
        expected = ""
    elif kind == "arrows":
        batch = _columns(10_000, "x").combine_chunks().to_batches()[0]
        with pyarrow.ipc.new_stream(path, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            for _ in range(2):
                stream.write_batch(batch)
        expected = ""
    else:
        with gzip.open(path, "wb", 1) as file:
            file.write(b"ARROW1\0\0")
            for _ in range(70):
                file.write(b"\0" * (8 * MEGABYTE))
        expected = "arrow_unreadable"
    receipt, code = ingested(ledger, path) if kind != "parquet" else _first_rows(ledger, path)
    assert code == expected
    assert receipt.get("accepted", 0) == 0
    assert ledger.ingest(*creations(1, 3)).accepted == 3
    prove(ledger, ["evt_1", "evt_2", "evt_3"])


def _first_rows(ledger: Ledger, path: Path) -> tuple[dict[str, Any], str]:
    """Only read what fits into one batch: to quarantine 4 GB would say nothing more about the memory."""
    from clearwell.ingest.inputs import ReadOptions, file_input, read

    with ledger.open() as workspace:
        options = ReadOptions(batch_rows=500_000, record_bytes=1_000_000, folder=ledger.folder, variables={})
        batches = read([file_input(str(path))], workspace.project_model(), options)
        sizes = [batch.records.estimated_size() for _, batch, _ in islice(batches, 3)]
    assert max(sizes) < 600 * MEGABYTE
    return {}, ""
