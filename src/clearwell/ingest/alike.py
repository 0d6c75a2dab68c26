"""Reads the lines of a block that are of a known form, all lines of a form at once, and leaves the others.

Keeps the forms that it has learned. A line that it reads gives what the reader of single lines would have made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from clearwell.ingest.blocks import Block, Places
from clearwell.ingest.forms import Form, Layout, Mask, Words, layout, outline, piece_of
from clearwell.values import columns

MOST_FORMS = 256
_VIEW = np.dtype("V16")

Path = tuple[str, ...]
Views = npt.NDArray[np.void]
Parts = tuple[str | int, ...]
"""Texts, and numbers of slots, which make a text when they are put together."""


@dataclass(frozen=True)
class _Known:
    """A form, the column of each of its slots, and the values that all its lines have.

    `others` is what the undeclared properties are put together of.
    """

    form: Form
    names: tuple[str, ...]
    constants: Mapping[str, str]
    others: Parts


class _Filled:
    """The columns of a block as far as lines were read; null where nothing was put."""

    def __init__(self, block: bytes, lines: int) -> None:
        self.done: Mask = np.zeros(lines, dtype=np.bool_)
        self._block = block
        self._lines = lines
        self._views: dict[str, Views] = {}
        self._valid: dict[str, Mask] = {}
        self._others: dict[Form, tuple[Parts, list[tuple[Places, Views]]]] = {}

    def put(self, known: _Known, lines: Places, views: Words) -> None:
        """Put the values of lines that are of a form."""
        self.done[lines] = True
        of_slots = views.view(_VIEW)[..., 0]
        for name, values in zip(known.names, of_slots, strict=True):
            if name != columns.OTHER_PROPERTIES:
                self._put(name, lines, values)
        for name, text in known.constants.items():
            self._put(name, lines, _inside(text))
        if known.others:
            self._others.setdefault(known.form, (known.others, []))[1].append((lines, of_slots))

    def _together(self, parts: Parts, several: Sequence[Views]) -> pl.Series:
        """The parts put together for each line, with the values of its slots."""
        of_slots = np.concatenate(several, axis=1)
        lines = of_slots.shape[1]
        each = [
            self._texts(of_slots[part]) if isinstance(part, int) else pl.repeat(part, lines, dtype=pl.String)
            for part in parts
        ]
        return pl.select(pl.concat_str(each)).to_series()

    def _put(self, name: str, lines: Places, values: Views) -> None:
        if name not in self._views:
            self._views[name] = np.zeros(self._lines, dtype=_VIEW)
            self._valid[name] = np.zeros(self._lines, dtype=np.bool_)
        self._views[name][lines] = values
        self._valid[name][lines] = True

    def records(self, names: Sequence[str]) -> pl.DataFrame:
        """The lines that were read, in order, with the columns `names`."""
        places = pl.Series("position", np.arange(self._lines, dtype=np.int64))
        frame = pl.DataFrame([places, *(self._column(name).alias(name) for name in names)])
        return frame if self.done.all() else frame.filter(pl.Series(self.done))

    def _column(self, name: str) -> pl.Series:
        if name == columns.OTHER_PROPERTIES and self._others:
            pieces = self._others.values()
            lines = pl.Series(np.concatenate([lines for _, several in pieces for lines, _ in several]))
            texts = [self._together(parts, [views for _, views in several]) for parts, several in pieces]
            rows = pl.repeat(None, self._lines, dtype=pl.Int64, eager=True).scatter(
                lines, pl.int_range(len(lines), eager=True)
            )
            return pl.concat(texts).gather(rows)
        if name not in self._views:
            return _NULL.new_from_index(0, self._lines)
        return self._texts(self._views[name], self._valid[name])

    def _texts(self, views: Views, valid: Mask | None = None) -> pl.Series:
        """The texts that views of the block stand for."""
        bits = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
        buffers = [bits, pa.py_buffer(views), pa.py_buffer(self._block)]
        return pl.Series(values=pl.from_arrow(pa.Array.from_buffers(pa.string_view(), len(views), buffers)))


_NULL = pl.Series([None], dtype=pl.String)


def _inside(text: str) -> Views:
    """The view of a short text."""
    return np.frombuffer(len(text).to_bytes(4, "little") + text.encode().ljust(12, b"\0"), dtype=_VIEW)


class AlikeReader:
    """Reads the lines of known forms.

    `column_of` has the column for each path of keys that a record may have; any other property is undeclared.
    `names` are the columns of a record, in order.
    """

    def __init__(self, column_of: Mapping[Path, str], names: Sequence[str]) -> None:
        self._column_of = column_of
        self._names = tuple(names)
        self._known: dict[tuple[bytes, ...], _Known] = {}

    def learn(self, lines: Sequence[bytes], records: pl.DataFrame) -> int:
        """Learn the forms of `lines`, of which `records` are what the reader of single lines made; returns how many.

        None of the lines may have a fault: then no line of their forms has one.
        """
        before = len(self._known)
        seen: set[bytes] = set()
        for line, record in zip(lines, records.iter_rows(named=True), strict=True):
            drawn = outline(line)
            plan = layout(line) if drawn not in seen and len(self._known) < MOST_FORMS else None
            known = self._examined(line, plan, record) if plan else None
            if plan and known:
                seen.add(drawn)
                self._known.setdefault(plan.fixed, known)
        return len(self._known) - before

    def _examined(self, line: bytes, plan: Layout, record: Mapping[str, str | None]) -> _Known | None:
        """The form of a line, if its slots and literals make the record that the line gave; None otherwise."""
        names = [self._column(slot.path) for slot in plan.slots]
        values = [line[slot.start : slot.end].decode() for slot in plan.slots]
        literals = {self._column(path): text for path, _, text in plan.literals if text != "null"}
        constants = {name: text for name, text in literals.items() if name != columns.OTHER_PROPERTIES}
        others = self._others(plan)
        made = {**dict(zip(names, values, strict=True)), **constants}
        made.pop(columns.OTHER_PROPERTIES, None)
        if others:
            made[columns.OTHER_PROPERTIES] = "".join(values[part] if isinstance(part, int) else part for part in others)
        given = {name: value for name, value in record.items() if value is not None and name != "position"}
        return _Known(Form(plan), tuple(names), constants, others) if made == given else None

    def _column(self, path: Path) -> str:
        """The column of a path; that of undeclared properties for those, and for paths of which nobody knows."""
        return self._column_of.get(path, columns.OTHER_PROPERTIES)

    def _others(self, plan: Layout) -> Parts:
        """What the undeclared properties are put together of."""
        slots = [(slot.start, slot.path, number) for number, slot in enumerate(plan.slots)]
        values: list[tuple[int, Path, int | str]] = [*slots, *((at, path, text) for path, at, text in plan.literals)]
        parts: list[str | int] = []
        for _, path, value in sorted(values, key=lambda item: item[0]):
            if self._column(path) == columns.OTHER_PROPERTIES:
                quote = '"' if isinstance(value, int) and not plan.slots[value].is_number else ""
                parts += [f'{"," if parts else "{"}"{path[-1]}":{quote}', value, quote]
        return (*parts, "}") if parts else ()

    def read(self, block: Block, chosen: Mask) -> tuple[pl.DataFrame, Mask]:
        """The records of those `chosen` lines that are of a known form, and which lines these are."""
        filled = _Filled(block.content, len(chosen))
        if not self._known:
            schema = {"position": pl.Int64, **dict.fromkeys(self._names, pl.String)}
            return pl.DataFrame(schema=schema), filled.done
        for first, last in block.runs():
            piece = piece_of(block.content, int(block.starts[first]), int(block.ends[last - 1]))
            left = np.flatnonzero(piece.fit & chosen[first:last])
            for known in self._known.values():
                alike = piece.quotes[left] == known.form.quotes
                if not alike.any():
                    continue
                lines, views = known.form.fill(piece, left[alike])
                filled.put(known, lines + first, views)
                left = left[~filled.done[left + first]]
        return filled.records(self._names), filled.done
