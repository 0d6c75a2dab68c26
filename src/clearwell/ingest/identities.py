"""Which events are in the log already: 64-bit hashes of (producer, id) with the sequence of each, in sorted runs.

A hash only suggests; whoever asks confirms on the full identity. The runs are derived from the log: they are rebuilt
when they are missing, and when Polars or the processor would compute other hashes.
"""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.errors import StorageError
from clearwell.ledger.fold import hash_fingerprint
from clearwell.log.reader import LogReader

Hashes = npt.NDArray[np.uint64]
Sequences = npt.NDArray[np.int64]

STORED_AT = 1 << 20
"""So many identities in memory are written to a run on disk."""

LARGEST_RUN = 1 << 23
"""Runs are merged up to this many identities."""

MERGED_AT_ONCE = 8
"""So many runs of like size become one."""

_FILTER_WORTH = 50
"""A filter is made once one in so many of the known identities has been asked for: it takes a look at all of them."""

_DIGEST = 16


@dataclass(frozen=True)
class _Run:
    """Identities of the sequences `first` to `last`: row 0 the sorted hashes, row 1 the sequences; `path` if stored."""

    first: int
    last: int
    rows: npt.NDArray[Any]
    path: Path | None = None

    def matches(self, wanted: Hashes) -> tuple[npt.NDArray[np.int64], Sequences]:
        """Pairs (place in `wanted`, sequence) of equal hashes."""
        hashes = self.rows[0]
        left = np.searchsorted(hashes, wanted, side="left")
        hit = np.flatnonzero(hashes[np.minimum(left, len(hashes) - 1)] == wanted)
        right = np.searchsorted(hashes, wanted[hit], side="right")
        counts = right - left[hit]
        places = np.repeat(hit, counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.rows[1][np.repeat(left[hit], counts) + offsets].astype(np.int64)


class _Filter:
    """Tells of nearly every hash that is not known that it is not, by one look at memory (a blocked Bloom filter).

    16 bits for each of `capacity` hashes; of those not known, about one in a hundred passes.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = 1 << max(16, (capacity - 1).bit_length())
        self._words = np.zeros(self.capacity // 4, dtype=np.uint64)

    def add(self, hashes: Hashes) -> None:
        np.bitwise_or.at(self._words, self._places(hashes), self._bits(hashes))

    def may_hold(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        bits = self._bits(hashes)
        found: npt.NDArray[np.bool_] = (self._words[self._places(hashes)] & bits) == bits
        return found

    def _places(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        return (hashes & np.uint64(len(self._words) - 1)).astype(np.int64)

    @staticmethod
    def _bits(hashes: Hashes) -> Hashes:
        one, low = np.uint64(1), np.uint64(63)
        bits: Hashes = one << (hashes >> np.uint64(58))
        for shift in (52, 46):
            bits |= one << (hashes >> np.uint64(shift) & low)
        return bits


def identity_hash() -> pl.Expr:
    """The hash of an event's identity."""
    return (pl.col("id").hash(4) ^ pl.col("producer").hash(5)).alias("identity_hash")


class Identities:
    """The identities of every event of a log, kept up to date by its one writer."""

    def __init__(self, folder: Path, reader: LogReader) -> None:
        """Load the runs in `folder`, and read from the log what they do not cover.

        Raises StorageError when the folder cannot be used or the log cannot be read.
        """
        self._folder = folder
        self._fingerprint = f"{hash_fingerprint():016x}"
        self._filter: _Filter | None = None
        self._asked = 0
        try:
            self._runs = self._stored_runs(reader.last_sequence)
        except OSError as error:
            raise StorageError("identities_unusable", f"{folder} cannot be read and tidied: {error}") from error
        for file, events in reader.after(self._last(), ["sequence", "producer", "id"]):
            hashes = events.select(identity_hash()).to_series().to_numpy()
            self.add(hashes, file.last_sequence - len(hashes) + 1)

    def matches(self, wanted: Hashes) -> tuple[npt.NDArray[np.int64], Sequences]:
        """Pairs (place in `wanted`, sequence in the log) whose hashes are equal."""
        self._asked += len(wanted)
        if self._filter is None and self._asked * _FILTER_WORTH > self._last():
            self._filter = self._new_filter()
        chosen = np.flatnonzero(self._filter.may_hold(wanted)) if self._filter else np.arange(len(wanted))
        found = [run.matches(wanted[chosen]) for run in self._runs] if len(chosen) else []
        if not found:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        places = np.concatenate([chosen[places] for places, _ in found])
        return places, np.concatenate([sequences for _, sequences in found])

    def add(self, hashes: Hashes, first_sequence: int) -> None:
        """Take in the identities of the events from `first_sequence` on, which follow the last ones taken in."""
        sequences = np.arange(first_sequence, first_sequence + len(hashes), dtype=np.uint64)
        order = np.argsort(hashes)
        rows = np.stack([hashes[order], sequences[order]])
        self._runs.append(_Run(first_sequence, first_sequence + len(hashes) - 1, rows))
        if self._filter is not None and self._last() <= self._filter.capacity:
            self._filter.add(hashes)
        elif self._filter is not None:
            self._filter = self._new_filter()
        self._tidy()

    def _new_filter(self) -> _Filter:
        found = _Filter(self._last() * 5 // 4)
        for run in self._runs:
            found.add(np.asarray(run.rows[0]))
        return found

    def _last(self) -> int:
        return self._runs[-1].last if self._runs else 0

    def _tidy(self) -> None:
        """Merge the newest runs once there are many of like size, so that few are searched; store what is large."""
        while len(like := self._of_like_size()) >= MERGED_AT_ONCE:
            hashes, sequences = (np.concatenate([run.rows[row] for run in like]) for row in (0, 1))
            order = np.argsort(hashes, kind="stable")
            merged = _Run(like[0].first, like[-1].last, np.stack([hashes[order], sequences[order]]))
            self._runs[-len(like) :] = [merged]
            for run in like:
                if run.path is not None:
                    run.path.unlink(missing_ok=True)
        newest = self._runs[-1]
        if newest.rows.shape[1] >= STORED_AT:
            self._runs[-1] = self._stored(newest)

    def _of_like_size(self) -> list[_Run]:
        """The newest runs that are not much larger than the last, and together no larger than a run may be."""
        newest = self._runs[-1].rows.shape[1]
        like: list[_Run] = []
        total = 0
        for run in reversed(self._runs):
            size = run.rows.shape[1]
            total += size
            if size > 2 * newest or total > LARGEST_RUN:
                break
            like.insert(0, run)
        return like

    def _stored(self, run: _Run) -> _Run:
        """Write a run down under a name that holds its range and its hash, unless it is there already.

        Not synced: what a power cut leaves of it does not have the hash in its name, and is made anew from the log.
        Where the disk refuses, it stays in memory, and the next process reads it from the log.
        """
        if run.path is not None:
            return run
        buffer = io.BytesIO()
        np.save(buffer, run.rows)
        digest = hashlib.sha256(buffer.getbuffer()).hexdigest()[:_DIGEST]
        path = self._folder / f"identities-{self._fingerprint}-{run.first:016d}-{run.last:016d}-{digest}.npy"
        aside = path.with_suffix(".part")
        try:
            with aside.open("wb") as file:
                file.write(buffer.getbuffer())
            aside.replace(path)
        except OSError:
            with suppress(OSError):
                aside.unlink()
            return run
        return _Run(run.first, run.last, np.load(path, mmap_mode="r"), path)

    def _stored_runs(self, last_sequence: int) -> list[_Run]:
        """The longest row of sound runs from sequence 1 on; every other file here is left over, and removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        by_first: dict[int, tuple[int, Path]] = {}
        for path in sorted(self._folder.iterdir()):
            span = self._span(path)
            if span is not None and span[1] <= last_sequence:
                by_first[span[0]] = max(by_first.get(span[0], (0, path)), (span[1], path))
        runs: list[_Run] = []
        while found := by_first.get(runs[-1].last + 1 if runs else 1):
            last, path = found
            runs.append(_Run(runs[-1].last + 1 if runs else 1, last, np.load(path, mmap_mode="r"), path))
        used = {run.path for run in runs}
        for path in set(self._folder.iterdir()) - used:
            path.unlink()
        return runs

    def _span(self, path: Path) -> tuple[int, int] | None:
        """The range of sequences that a stored run covers; None when the file is not what its name says."""
        match = re.fullmatch(rf"identities-{self._fingerprint}-([0-9]{{16}})-([0-9]{{16}})-([0-9a-f]{{16}})", path.stem)
        if match is None or path.suffix != ".npy":
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST]
        return (int(match[1]), int(match[2])) if digest == match[3] else None
