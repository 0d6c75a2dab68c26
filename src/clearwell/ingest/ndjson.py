"""Reads NDJSON in the wire format: one JSON object per line, columns out.

Lines that are like one seen before are read at once (`alike`). DuckDB parses the others, whole blocks of them; the keys
that such a line has are looked at once per distinct set of keys, not per line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

import duckdb
import numpy as np
import polars as pl

from clearwell.flows.model import Model
from clearwell.ingest import undeclared
from clearwell.ingest.alike import AlikeReader
from clearwell.ingest.batches import Batch, rejections_frame
from clearwell.ingest.blocks import Block, BlockSizes, Places, blocks
from clearwell.ingest.forms import Mask
from clearwell.ledger.rejections import SCHEMA, RejectionCode, no_rejections
from clearwell.values import columns

_TEXT_FIELDS = ("type", "id", "producer", "effective_at", "occurred_at", "currency")
_OBJECTS = ("", "/properties", "/amounts")
"""JSON pointers to the objects of a record."""

_FACTS = ("short_amounts", "others", *(f"no keys in {path}" for path in _OBJECTS))

_NAME_LIMIT = 200
_NESTED = r"^[{\[]"
_SUSPECT = r"^(?:[{\[]|-?(?i:nan|inf|infinity)$)"
"""The text of an object, of an array, or of what DuckDB, unlike JSON, takes for a number."""

_BLANK = " \t\r\n"
"""The white space of JSON: a line of any other is a record, and no JSON."""

_MOST_LESSONS = 2
_FEWEST_TO_LEARN = 64
_SHARE_TO_LEARN = 16
_SAMPLE_LINES = 512
_SAMPLE_RUN = 32
_MOST_IN_VAIN = 3

_WHITE_SPACE = np.frombuffer(_BLANK.encode(), dtype=np.uint8)


@dataclass(frozen=True)
class NdjsonOptions:
    """Sizes in bytes: of the blocks read at a time, of the largest record accepted, and of the largest one kept.

    With `imports`, records have a `recorded_at`. `block_lines` bounds what very short lines cost: a block with more of
    them is taken in pieces. `earlier_amounts` are names that earlier models had: they are read, so that an event of the
    log is known again.
    """

    block_bytes: int = 48 << 20
    record_bytes: int = 1_000_000
    kept_bytes: int = 64 << 20
    block_lines: int = 400_000
    imports: bool = False
    earlier_amounts: tuple[str, ...] = ()


@dataclass
class _Shape:
    """What the keys of a line say about it."""

    faults: list[tuple[RejectionCode, str, str, str]] = field(default_factory=list)
    other_properties: bool = False
    short_amounts: bool = False
    without_keys: tuple[str, ...] = ()


class NdjsonReader:
    """Turns a stream of lines into batches. One reader may serve many streams of one model."""

    def __init__(self, model: Model, options: NdjsonOptions) -> None:
        self._options = options
        self._properties = frozenset(model.property_names)
        self._amounts = tuple(sorted({*model.amount_names, *options.earlier_amounts}))
        self._database = duckdb.connect()
        self._database.execute("SET preserve_insertion_order = true")
        self._shapes: dict[str, _Shape] = {}
        paths = ["$", "$.properties", "$.amounts", *(f"$.amounts.{name}" for name in self._amounts)]
        long_amount = {"value": "VARCHAR", "currency": "VARCHAR"}
        self._text_fields = (*_TEXT_FIELDS, *([columns.RECORDED_AT] if options.imports else []))
        self._fields = (*self._text_fields, "properties", "amounts")
        envelope: dict[str, Any] = dict.fromkeys(self._text_fields, "VARCHAR")
        if self._properties:
            envelope["properties"] = dict.fromkeys(sorted(self._properties), "VARCHAR")
        envelope["amounts"] = dict.fromkeys(self._amounts, long_amount)
        self._structure = json.dumps(envelope)
        self._short_structure = json.dumps({"amounts": dict.fromkeys(self._amounts, "VARCHAR")})
        self._paths = paths
        self._alike = AlikeReader(self._columns(), self._names())
        self._in_vain = 0

    def _columns(self) -> dict[tuple[str, ...], str]:
        """The column of the value at each path of keys."""
        return {
            **{(name,): name for name in self._text_fields},
            **{("properties", name): columns.property_column(name) for name in self._properties},
            **{("amounts", name): columns.amount_column(name) for name in self._amounts},
            **{("amounts", name, "value"): columns.amount_column(name) for name in self._amounts},
            **{("amounts", name, "currency"): columns.currency_column(name) for name in self._amounts},
        }

    def _names(self) -> list[str]:
        """The columns of the records, without their position."""
        amounts = ((columns.amount_column(name), columns.currency_column(name)) for name in self._amounts)
        return [
            *self._text_fields,
            *map(columns.property_column, sorted(self._properties)),
            *(column for pair in amounts for column in pair),
            columns.OTHER_PROPERTIES,
        ]

    def read(self, stream: BinaryIO, source: str) -> Iterator[Batch]:
        """Yield the batches of `stream`; `source` names it in quarantine. Blank lines do not count as records.

        Raises DataError at a line that is too long even for quarantine.
        """
        options, line = self._options, 1
        sizes = BlockSizes(options.block_bytes, options.kept_bytes, options.block_lines)
        for block in blocks(stream, source, sizes):
            yield self._batch(block, line, source)
            line += len(block.starts)

    def _batch(self, block: Block, first_line: int, source: str) -> Batch:
        lengths = block.lengths()
        unreadable = block.not_utf_8()
        too_large = np.flatnonzero(lengths > self._options.record_bytes)
        rejections = [
            rejections_frame(
                too_large,
                RejectionCode.RECORD_TOO_LARGE,
                field="record",
                expected=f"at most {self._options.record_bytes} bytes",
                found=[f"{length} bytes" for length in lengths[too_large]],
            ),
            rejections_frame(
                unreadable,
                RejectionCode.RECORD_UNREADABLE,
                field="record",
                expected="UTF-8",
                found="other bytes",
            ),
        ]
        keep = np.ones(len(lengths), dtype=np.bool_)
        keep[too_large] = False
        keep[unreadable] = False
        records, faults = self._records(block, keep)
        lines = np.arange(first_line, first_line + len(lengths), dtype=np.int64)
        return Batch(source, records, pl.concat([*rejections, *faults]), lines, partial(_raw, block))

    def _records(self, block: Block, keep: Mask) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """The records of the lines to `keep`, and their faults: those of known forms, then all others one by one."""
        alike, done = self._alike.read(block, keep)
        for _ in range(_MOST_LESSONS):
            left = np.flatnonzero(keep & ~done)
            if len(left) < max(_FEWEST_TO_LEARN, len(keep) // _SHARE_TO_LEARN):
                break
            sample = block.texts(_sample(left))
            if not self._learn(sample, *self._parse(sample)):
                break
            alike, done = self._alike.read(block, keep)
        left = np.flatnonzero(keep & ~done)
        if not len(left):
            return alike, []
        rest = block.texts(left)
        if np.isin(block.first_bytes(left), _WHITE_SPACE).any():
            rest = rest.filter(pl.col("text").str.strip_chars(_BLANK) != "")
        records, faults = self._parse(rest)
        self._learn(rest[_sample(np.arange(rest.height))], records, faults)
        return (pl.concat([alike, records]).sort("position") if alike.height else records), faults

    def _learn(self, sample: pl.DataFrame, records: pl.DataFrame, faults: Sequence[pl.DataFrame]) -> int:
        """Learn the forms of those lines of a sample that have no fault; how many were new."""
        if self._in_vain >= _MOST_IN_VAIN:
            return 0
        faulty = pl.concat([no_rejections(), *faults])
        faultless = sample.join(faulty, on="position", how="anti").join(records, on="position", maintain_order="left")
        lines = [text.removesuffix("\n").encode() for text in faultless["text"]]
        learned = self._alike.learn(lines, faultless.drop("text"))
        self._in_vain = 0 if learned else self._in_vain + 1
        return learned

    def _parse(self, lines: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        try:
            parsed = self._parsed(lines)
        except (duckdb.InvalidInputException, UnicodeDecodeError):  # The latter when it quotes half a character.
            valid = self._column("SELECT json_valid(text) FROM lines ORDER BY position", lines, [])
            bad = lines.filter(~valid)
            texts = bad["text"].str.strip_chars().str.slice(0, 80)
            fault = rejections_frame(
                bad["position"],
                RejectionCode.RECORD_UNREADABLE,
                field="record",
                expected="a JSON object",
                found=texts,
            )
            records, faults = self._parse(lines.filter(valid))
            return records, [fault, *faults]
        return self._examined(parsed, lines)

    def _parsed(self, lines: pl.DataFrame) -> pl.DataFrame:
        query = (
            "SELECT position, unnest(from_json(text, ?), recursive := false), "
            "to_json(json_keys(text, ?))::VARCHAR AS shape FROM lines ORDER BY position"
        )
        return self._frame(query, lines, [self._structure, self._paths])

    def _examined(self, parsed: pl.DataFrame, lines: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """Flatten the parsed records; find faults that show in the keys, and values that are objects in disguise."""
        records = self._flattened(parsed)
        texts = parsed["shape"].unique()
        shapes = [self._shapes.get(text) or self._shape(text) for text in texts]
        facts = pl.DataFrame(
            {
                "shape": texts,
                "short_amounts": [shape.short_amounts for shape in shapes],
                "others": [shape.other_properties for shape in shapes],
                **{f"no keys in {path}": [path in shape.without_keys for shape in shapes] for path in _OBJECTS},
            },
            schema_overrides=dict.fromkeys(_FACTS, pl.Boolean),
        )
        marked = parsed.select("position", "shape").join(facts, on="shape", how="left", maintain_order="left")
        faults = [_key_faults(marked, texts, shapes)]
        if facts["short_amounts"].any():
            records = self._with_short_amounts(records, lines, marked.filter("short_amounts")["position"])
        if facts["others"].any():
            with_others = lines.filter(pl.col("position").is_in(marked.filter("others")["position"].implode()))
            places, found = undeclared.not_kept(with_others)
            faults.append(
                rejections_frame(
                    places,
                    RejectionCode.RECORD_UNREADABLE,
                    field="properties",
                    expected=undeclared.EXPECTED,
                    found=found,
                )
            )
            kept = with_others.filter(~pl.col("position").is_in(places))
            records = self._with_other_properties(records, kept)
        faults += [
            self._not_objects(marked.filter(f"no keys in {path}")["position"], lines, path)
            for path in _OBJECTS
            if facts[f"no keys in {path}"].any()
        ]
        faults += self._nested_values(records, lines)
        fatal = pl.concat(faults).filter(pl.col("code") == RejectionCode.RECORD_UNREADABLE)
        return records.join(fatal, on="position", how="anti", maintain_order="left"), faults

    def _flattened(self, parsed: pl.DataFrame) -> pl.DataFrame:
        wanted: list[pl.Expr] = [pl.col("position"), *map(pl.col, self._text_fields)]
        properties, amounts = pl.col("properties").struct, pl.col("amounts").struct
        wanted += [properties.field(name).alias(columns.property_column(name)) for name in sorted(self._properties)]
        for name in self._amounts:
            amount = amounts.field(name).struct
            wanted.append(amount.field("value").alias(columns.amount_column(name)))
            wanted.append(amount.field("currency").alias(columns.currency_column(name)))
        other = pl.lit(None, dtype=pl.String).alias(columns.OTHER_PROPERTIES)
        return parsed.select(*wanted, other)

    def _shape(self, text: str) -> _Shape:
        """Examine one set of keys: those of the record, its properties, its amounts, and of each amount."""
        top, properties, amounts, *each = [keys or [] for keys in json.loads(text)]
        keys_of = dict(zip(_OBJECTS, (top, properties, amounts), strict=True))
        shape = _Shape(
            without_keys=tuple(
                path for path, keys in keys_of.items() if not keys and (not path or path.removeprefix("/") in top)
            )
        )
        for where, keys in (("", top), ("properties.", properties), ("amounts.", amounts)):
            for name, count in Counter(keys).items():
                if count > 1:
                    shape.faults.append(
                        (
                            RejectionCode.FIELD_REPEATED,
                            where + name[:_NAME_LIMIT],
                            "each key once",
                            f"{count} times",
                        )
                    )
        expected = "one of " + ", ".join(self._fields)
        for name in top:
            if name not in self._fields:
                shape.faults.append((RejectionCode.FIELD_UNKNOWN, name[:_NAME_LIMIT], expected, name[:_NAME_LIMIT]))
        for name in amounts:
            if name not in self._amounts:
                expected = "an amount that a move uses: " + ", ".join(self._amounts)
                shape.faults.append(
                    (
                        RejectionCode.AMOUNT_UNKNOWN,
                        f"amounts.{name[:_NAME_LIMIT]}",
                        expected,
                        name[:_NAME_LIMIT],
                    )
                )
        for name, keys in zip(self._amounts, each, strict=True):
            self._examine_amount(shape, name, keys, present=name in amounts)
        shape.other_properties = not self._properties.issuperset(properties)
        if len(self._shapes) < 10_000:
            self._shapes[text] = shape
        return shape

    @staticmethod
    def _examine_amount(shape: _Shape, name: str, keys: list[str], *, present: bool) -> None:
        if present and not keys:
            shape.short_amounts = True
        for key, count in Counter(keys).items():
            where = f"amounts.{name}.{key[:_NAME_LIMIT]}"
            if count > 1:
                shape.faults.append((RejectionCode.FIELD_REPEATED, where, "each key once", f"{count} times"))
            if key not in ("value", "currency"):
                shape.faults.append((RejectionCode.FIELD_UNKNOWN, where, "value or currency", key[:_NAME_LIMIT]))

    def _with_short_amounts(self, records: pl.DataFrame, lines: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
        """Fill in the amounts that are bare numbers, for which the long structure gave nothing."""
        chosen = lines.filter(pl.col("position").is_in(positions.implode()))
        query = "SELECT position, unnest(from_json(text, ?).amounts) FROM lines ORDER BY position"
        bare = self._frame(query, chosen, [self._short_structure])
        renamed = bare.rename({name: f"bare_{name}" for name in self._amounts})
        filled = [
            pl.coalesce(columns.amount_column(name), f"bare_{name}").alias(columns.amount_column(name))
            for name in self._amounts
        ]
        return (
            records.join(renamed, on="position", how="left", maintain_order="left")
            .with_columns(filled)
            .select(records.columns)
        )

    def _with_other_properties(self, records: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
        """Keep the properties that no event type declares as one JSON object: all, less (RFC 7396) the declared."""
        left = "json_merge_patch(json_extract(text, '/properties'), $1::JSON)::VARCHAR"
        query = f"SELECT position, {left} AS others FROM lines"
        others = self._frame(query, lines, [json.dumps(dict.fromkeys(self._properties))])
        filled = pl.col("others").alias(columns.OTHER_PROPERTIES)
        return (
            records.drop(columns.OTHER_PROPERTIES)
            .join(others, on="position", how="left", maintain_order="left")
            .with_columns(filled)
            .select(records.columns)
        )

    def _not_objects(self, positions: pl.Series, lines: pl.DataFrame, path: str) -> pl.DataFrame:
        """Faults of the lines that have something else than an object at `path` (a JSON pointer)."""
        chosen = lines.filter(pl.col("position").is_in(positions.implode()))
        query = "SELECT position, lower(json_type(text, $1)) AS kind FROM lines WHERE json_type(text, $1) <> 'OBJECT'"
        kinds = self._frame(query, chosen, [path])
        code = RejectionCode.FIELD_INVALID if path else RejectionCode.RECORD_UNREADABLE
        field_name = path.removeprefix("/") or "record"
        return rejections_frame(
            kinds["position"], code, field=field_name, expected="a JSON object", found=kinds["kind"]
        )

    def _nested_values(self, records: pl.DataFrame, lines: pl.DataFrame) -> list[pl.DataFrame]:
        """Objects and arrays where a text or a number belongs; NaN and Infinity, which are no numbers of JSON."""
        faults = []
        for name in records.columns:
            column = records[name]
            if name in ("position", columns.OTHER_PROPERTIES) or column.null_count() == len(column):
                continue
            suspects = records.filter(
                column.str.contains(_NESTED if name.startswith(columns.AMOUNT_PREFIX) else _SUSPECT)
            )["position"]
            if not suspects.is_empty():
                path, field_name, code = _place_of(name)
                query = "SELECT position, lower(json_type(text, ?)) AS kind FROM lines ORDER BY position"
                kinds = self._frame(query, lines.filter(pl.col("position").is_in(suspects.implode())), [path])
                nested = kinds.filter(pl.col("kind").is_in(["object", "array", "double"]))
                faults.append(
                    rejections_frame(
                        nested["position"],
                        code,
                        field=field_name,
                        expected="a text or a number",
                        found=nested["kind"].replace({"double": "NaN or Infinity"}),
                    )
                )
        return faults

    def _frame(self, query: str, lines: pl.DataFrame, parameters: Sequence[object]) -> pl.DataFrame:
        self._database.register("lines", lines.to_arrow())
        frame = pl.from_arrow(self._database.execute(query, list(parameters)).to_arrow_table())
        self._database.unregister("lines")
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _column(self, query: str, lines: pl.DataFrame, parameters: Sequence[object]) -> pl.Series:
        return self._frame(query, lines, parameters).to_series()


def _raw(block: Block, positions: Sequence[int]) -> list[bytes]:
    return [block.line(place) for place in positions]


def _sample(places: Places) -> Places:
    """Some of the places: runs of neighbours at even distances, since kinds of lines may come in turns."""
    if len(places) <= _SAMPLE_LINES:
        return places
    starts = np.linspace(0, len(places) - _SAMPLE_RUN, _SAMPLE_LINES // _SAMPLE_RUN, dtype=np.int64)
    chosen: Places = places[(starts[:, None] + np.arange(_SAMPLE_RUN)).ravel()]
    return chosen


def _key_faults(marked: pl.DataFrame, texts: pl.Series, shapes: Sequence[_Shape]) -> pl.DataFrame:
    """The faults of the shapes, for each record that has the shape."""
    rows = [
        (text, code.value, *rest) for text, shape in zip(texts, shapes, strict=True) for code, *rest in shape.faults
    ]
    names = ("shape", "code", "field", "expected", "found")
    faults = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return marked.join(faults, on="shape", how="inner", maintain_order="left_right").select(*SCHEMA)


def _place_of(column: str) -> tuple[str, str, RejectionCode]:
    """The JSON pointer of a column's value in a record, its name for people, and the code of a wrong kind there."""
    for prefix, outer, inner, code in (
        (columns.PROPERTY_PREFIX, "properties", "", RejectionCode.PROPERTY_INVALID),
        (columns.AMOUNT_PREFIX, "amounts", "", RejectionCode.AMOUNT_VALUE_INVALID),
        (columns.CURRENCY_PREFIX, "amounts", "/currency", RejectionCode.FIELD_INVALID),
    ):
        if column.startswith(prefix):
            name = column.removeprefix(prefix)
            return f"/{outer}/{name}{inner}", f"{outer}.{name}{inner.replace('/', '.')}", code
    return f"/{column}", column, RejectionCode.FIELD_INVALID
