"""Decides which records become events. A record is refused with the first code that applies to it, never silently.

Works on whole columns. Checks run in the order of `RejectionCode`; a row that was refused is not refused again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.flows.model import EventType, Model
from clearwell.ledger.doubts import ID_BYTES, LARGEST_AMOUNT, PROPERTY_BYTES, doubtful
from clearwell.ledger.rejections import SCHEMA, RejectionCode, no_rejections
from clearwell.values import columns, instants, times
from clearwell.values.currencies import Currencies
from clearwell.values.frames import filtered, looked_up, nulls

_CONTROL = r"[\x00-\x1f\x7f]"
_FOUND_CHARACTERS = 200

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What records are held against: the model in force, the currencies, and the clock.

    `imports` says that records bring their `recorded_at` with them, which is at most the present one.
    """

    model: Model
    currencies: Currencies
    recorded_at: datetime
    future_limit: timedelta
    imports: bool = False


@dataclass(frozen=True)
class Validated:
    """`events` are the accepted rows in input order, typed, with `position`; `rejections` is a frame of rejections.

    `refused` are those of the other rows that say nothing which typing lost: one may be known from before a model
    changed.
    """

    events: pl.DataFrame
    rejections: pl.DataFrame
    refused: pl.DataFrame


class _Verdicts:
    """Collects refusals. Row numbers are positions in the frame under validation."""

    def __init__(self, positions: pl.Series) -> None:
        self._positions = positions
        self._frames: list[pl.DataFrame] = []
        self.refused: Mask = np.zeros(len(positions), dtype=np.bool_)

    def refuse(
        self,
        rows: pl.Series,
        failed: pl.Series,
        code: RejectionCode,
        *,
        field: str,
        expected: str,
        found: str | pl.Series = "nothing",
    ) -> None:
        """Refuse the `rows` where `failed` (null counts as failed); `found` is a text, or a column beside `rows`."""
        if not failed.any() and not failed.null_count():
            return
        keep = failed.fill_null(value=True).to_numpy() & ~self.refused[rows.to_numpy()]
        chosen = rows.filter(pl.Series(keep))
        found_texts = (
            pl.repeat(found, len(chosen), eager=True) if isinstance(found, str) else found.filter(pl.Series(keep))
        )
        frame = pl.DataFrame(
            {
                "position": self._positions.gather(chosen),
                "code": pl.repeat(code.value, len(chosen), eager=True),
                "field": pl.repeat(field, len(chosen), eager=True),
                "expected": pl.repeat(expected, len(chosen), eager=True),
                "found": _as_text(found_texts).fill_null("nothing").str.slice(0, _FOUND_CHARACTERS),
            },
            schema=SCHEMA,
        )
        self._frames.append(frame)
        self.refused[chosen.to_numpy()] = True

    def rejections(self) -> pl.DataFrame:
        return pl.concat([no_rejections(), *self._frames]).sort("position")


def validate(records: pl.DataFrame, rules: Rules) -> Validated:
    """Hold `records` against `rules`.

    `records` has `position` and any of the columns of `values.columns`; values are text or already typed, null where
    absent. An event of a type never gets fewer properties and amounts than its moves need.
    """
    frame = _with_all_columns(records, rules)
    typed = _typed(frame)
    refused = _doubtful(frame, typed, rules)
    places = np.flatnonzero(refused)
    if not len(places):
        events = _finished(typed, rules.model)
        return Validated(events, no_rejections(), events.clear())
    given, read = frame[places], typed[places]
    verdicts = _examined(given, read, rules)
    refused[places] = verdicts.refused
    put_aside = pl.Series(verdicts.refused, dtype=pl.Boolean)
    return Validated(
        events=_finished(filtered(typed, ~pl.Series(refused)), rules.model),
        rejections=verdicts.rejections(),
        refused=_finished(read.filter(put_aside & ~_misread(given, read, rules.model)), rules.model),
    )


def _doubtful(frame: pl.DataFrame, typed: pl.DataFrame, rules: Rules) -> Mask:
    """The rows to examine: all that are to be refused, and few others."""
    return doubtful(frame, typed, rules.model, _latest(rules), list(rules.currencies))


def _examined(frame: pl.DataFrame, typed: pl.DataFrame, rules: Rules) -> _Verdicts:
    """Every row held against every rule."""
    verdicts = _Verdicts(frame["position"])
    _check_envelope(frame, typed, rules, verdicts)
    parts = typed.with_row_index("row").partition_by("type", as_dict=True)
    for (name,), part in parts.items():
        event_type = rules.model.event_types.get(str(name))
        if event_type is not None:
            _check_contents(event_type, part, frame, rules, verdicts)
    return verdicts


def _latest(rules: Rules) -> dict[str, datetime]:
    """By column, the latest instant that is allowed."""
    ahead = rules.recorded_at + rules.future_limit
    latest = {"effective_at": ahead, "occurred_at": ahead}
    return {**latest, columns.RECORDED_AT: rules.recorded_at} if rules.imports else latest


def _with_all_columns(records: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    model = rules.model
    amounts = set(model.amount_names) | set(columns.names_with_prefix(records.columns, columns.AMOUNT_PREFIX))
    wanted = [
        *columns.ENVELOPE,
        *map(columns.property_column, model.property_names),
        *map(columns.amount_column, sorted(amounts)),
        *map(columns.currency_column, sorted(amounts)),
        "currency",
        columns.OTHER_PROPERTIES,
        *([columns.RECORDED_AT] if rules.imports else []),
    ]
    given = set(records.columns)
    return pl.DataFrame(
        [
            records[name] if name in given else nulls(name, pl.String(), records.height)
            for name in dict.fromkeys(("position", *wanted))
        ]
    )


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every column in its event's type; what cannot be converted is null."""
    typed: list[pl.Series] = []
    for column in frame.iter_columns():
        name = column.name
        if name in ("effective_at", "occurred_at", columns.RECORDED_AT):
            typed.append(times.to_instants(column))
        elif name.startswith(columns.AMOUNT_PREFIX):
            typed.append(_whole_numbers(column))
        elif name.startswith(columns.CURRENCY_PREFIX):
            amount = frame[columns.AMOUNT_PREFIX + name.removeprefix(columns.CURRENCY_PREFIX)]
            typed.append(_currencies(column, amount, frame["currency"]))
        elif name in ("position", "currency") or column.dtype == pl.String:
            typed.append(column)
        else:
            typed.append(_as_text(column))
    return pl.DataFrame(typed)


def _currencies(own: pl.Series, amounts: pl.Series, common: pl.Series) -> pl.Series:
    """The currency of each amount: its own, or else the one for the whole event; null where there is no amount."""
    found = own.cast(pl.String)
    if found.null_count():
        found = found.zip_with(found.is_not_null(), common.cast(pl.String))
    if amounts.null_count():
        found = found.zip_with(amounts.is_not_null(), nulls(own.name, pl.String(), len(found)))
    return found


def _whole_numbers(column: pl.Series) -> pl.Series:
    """The column as 64-bit integers; null for what is none. A float, a truth value or a day is no amount of money."""
    dtype = column.dtype
    if not (dtype.is_integer() or dtype.is_decimal() or dtype in (pl.String, pl.Null)):
        return pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    numbers = column.cast(pl.Int64, strict=False)
    if column.dtype.is_decimal():
        exact = numbers.cast(column.dtype, strict=False) == column
        numbers = pl.select(pl.when(exact).then(numbers)).to_series().rename(column.name)
    return numbers


def _check_envelope(frame: pl.DataFrame, typed: pl.DataFrame, rules: Rules, verdicts: _Verdicts) -> None:
    rows = pl.Series(np.arange(frame.height, dtype=np.int64))
    names, ids = typed["type"], typed["id"]
    code = RejectionCode
    producers = {name: event.producer for name, event in rules.model.event_types.items()}
    verdicts.refuse(rows, names.is_null() | (names == ""), code.TYPE_MISSING, field="type", expected="an event type")
    expected = "an event type that a flow declares" + _examples(producers)
    unknown = ~names.is_in(list(producers))
    verdicts.refuse(rows, unknown, code.EVENT_TYPE_UNKNOWN, field="type", expected=expected, found=names)
    no_id = ids.is_null() | (ids == "")
    verdicts.refuse(rows, no_id, code.ID_MISSING, field="id", expected="a text that names the event")
    bad_id = (ids.str.len_bytes() > ID_BYTES) | ids.str.contains(_CONTROL)
    expected = f"at most {ID_BYTES} bytes without control characters"
    verdicts.refuse(rows, bad_id, code.ID_INVALID, field="id", expected=expected, found=ids)
    _check_producers(rows, typed, producers, verdicts)
    for name, latest in _latest(rules).items():
        beyond = "IN_FUTURE" if name == columns.RECORDED_AT else "TOO_FAR_AHEAD"
        limit = f"not after {instants.format_instant(latest)}"
        statements = [code[f"{name.upper()}_{what}"] for what in ("MISSING", "INVALID", beyond)]
        given, value = frame[name], typed[name]
        verdicts.refuse(rows, given.is_null(), statements[0], field=name, expected=times.EXPECTED)
        verdicts.refuse(rows, value.is_null(), statements[1], field=name, expected=times.EXPECTED, found=given)
        verdicts.refuse(rows, value > latest, statements[2], field=name, expected=limit, found=given)


def _check_producers(rows: pl.Series, typed: pl.DataFrame, producers: Mapping[str, str], verdicts: _Verdicts) -> None:
    given = typed["producer"]
    if given.null_count() == len(given):
        return
    declared = typed["type"].replace_strict(producers, default=None, return_dtype=pl.String)
    wrong = given.is_not_null() & (given != declared)
    for name in typed.filter(wrong)["type"].unique().drop_nulls():
        of_type = wrong & (typed["type"] == name)
        expected = f"{producers.get(name)!r}, the producer of {name}"
        verdicts.refuse(
            rows, of_type, RejectionCode.PRODUCER_MISMATCH, field="producer", expected=expected, found=given
        )


def _check_contents(
    event_type: EventType, part: pl.DataFrame, frame: pl.DataFrame, rules: Rules, verdicts: _Verdicts
) -> None:
    """Check the properties and amounts of the rows in `part`, all of one event type."""
    rows = part["row"]
    code = RejectionCode
    for name in event_type.required_properties:
        value = part[columns.property_column(name)]
        field, expected = f"properties.{name}", f"the property that {event_type.name} needs"
        verdicts.refuse(rows, value.is_null(), code.PROPERTY_MISSING, field=field, expected=expected)
    _check_subjects(event_type, part, verdicts)
    expected = f"1 to {PROPERTY_BYTES} bytes of text without control characters"
    for column in (name for name in part.columns if name.startswith(columns.PROPERTY_PREFIX)):
        value = part[column]
        if value.null_count() == len(value):
            continue
        bad = (value == "") | (value.str.len_bytes() > PROPERTY_BYTES) | value.str.contains(_CONTROL)
        field = f"properties.{column.removeprefix(columns.PROPERTY_PREFIX)}"
        verdicts.refuse(
            rows,
            bad.fill_null(value=False),
            code.PROPERTY_INVALID,
            field=field,
            expected=expected,
            found=value,
        )
    _check_undeclared(event_type, part, rules.model, verdicts)
    _check_amounts(event_type, part, frame, rules, verdicts)


def _check_subjects(event_type: EventType, part: pl.DataFrame, verdicts: _Verdicts) -> None:
    """A personal value must say whose it is, or it could not be erased."""
    for item in event_type.personal:
        if item.subject is not None:
            value, subject = part[columns.property_column(item.name)], part[columns.property_column(item.subject)]
            verdicts.refuse(
                part["row"],
                value.is_not_null() & subject.is_null(),
                RejectionCode.PROPERTY_MISSING,
                field=f"properties.{item.subject}",
                expected=f"the property that says whose {item.name} it is",
            )


def _check_undeclared(event_type: EventType, part: pl.DataFrame, model: Model, verdicts: _Verdicts) -> None:
    """What is personal elsewhere is never kept in clear where nobody said whose it is."""
    declared = {item.name for item in event_type.personal}
    for name in (name for name in model.personal_names if name not in declared):
        verdicts.refuse(
            part["row"],
            part[columns.property_column(name)].is_not_null(),
            RejectionCode.PERSONAL_PROPERTY_UNDECLARED,
            field=f"properties.{name}",
            expected=f"no {name}, or {event_type.name} to declare it personal",
            found="a value",
        )


def _check_amounts(
    event_type: EventType, part: pl.DataFrame, frame: pl.DataFrame, rules: Rules, verdicts: _Verdicts
) -> None:
    rows = part["row"]
    code = RejectionCode
    whole = part.height == frame.height
    given = {
        column: frame[column] if whole else frame[column].gather(rows)
        for column in frame.columns
        if column.startswith(columns.AMOUNT_PREFIX)
    }
    declared = {columns.amount_column(rule.name): rule for rule in event_type.amounts}
    used = "an amount that a move uses: " + ", ".join(rule.name for rule in event_type.amounts)
    for column in given.keys() - declared.keys():
        field = f"amounts.{column.removeprefix(columns.AMOUNT_PREFIX)}"
        verdicts.refuse(
            rows,
            given[column].is_not_null(),
            code.AMOUNT_UNKNOWN,
            field=field,
            expected=used,
            found=given[column],
        )
    for column, rule in declared.items():
        field, expected = f"amounts.{rule.name}", f"the amount that a move of {event_type.name} uses"
        verdicts.refuse(rows, given[column].is_null(), code.AMOUNT_MISSING, field=field, expected=expected)
    for column, rule in declared.items():
        field, value = f"amounts.{rule.name}", part[column]
        expected = f"a whole number of minor units within ±{LARGEST_AMOUNT}"
        bad = value.is_null() | (value < -LARGEST_AMOUNT)
        verdicts.refuse(rows, bad, code.AMOUNT_VALUE_INVALID, field=field, expected=expected, found=given[column])
    expected = "zero or more, for it is not declared `signed`"
    for column, rule in declared.items():
        if not rule.signed:
            field, value = f"amounts.{rule.name}", part[column]
            verdicts.refuse(rows, value < 0, code.AMOUNT_NEGATIVE, field=field, expected=expected, found=value)
    _check_currencies(event_type, part, rules, verdicts)


def _check_currencies(event_type: EventType, part: pl.DataFrame, rules: Rules, verdicts: _Verdicts) -> None:
    rows, code = part["row"], RejectionCode
    given = {f"amounts.{rule.name}.currency": part[columns.currency_column(rule.name)] for rule in event_type.amounts}
    expected = "a currency code, here or for the whole event"
    for field, currency in given.items():
        verdicts.refuse(rows, currency.is_null(), code.AMOUNT_CURRENCY_MISSING, field=field, expected=expected)
    expected = "a currency of ISO 4217 or of the settings"
    for field, currency in given.items():
        unknown = ~currency.is_in(list(rules.currencies))
        verdicts.refuse(rows, unknown, code.AMOUNT_CURRENCY_UNKNOWN, field=field, expected=expected, found=currency)


def _misread(frame: pl.DataFrame, typed: pl.DataFrame, model: Model) -> pl.Series:
    """The rows with an amount that is no number, or another producer than the model's: they equal no event."""
    misread = (frame["producer"].cast(pl.String) != _producers(typed["type"], model)).fill_null(value=False)
    for name in (name for name in frame.columns if name.startswith(columns.AMOUNT_PREFIX)):
        misread |= frame[name].is_not_null() & typed[name].is_null()
    return misread


def _as_text(column: pl.Series) -> pl.Series:
    return (column.to_physical() if column.dtype == pl.Duration else column).cast(pl.String)


def _finished(events: pl.DataFrame, model: Model) -> pl.DataFrame:
    """Put the producer of the model in, and leave out what only input has and columns that hold nothing."""
    always = {"position", *columns.ENVELOPE}
    kept = [
        _producers(events["type"], model) if column.name == "producer" else column
        for column in events.iter_columns()
        if column.name in always or (column.name != "currency" and column.null_count() < len(column))
    ]
    return pl.DataFrame(kept)


def _producers(types: pl.Series, model: Model) -> pl.Series:
    """The producer that the model has for each event type."""
    return looked_up("producer", types, {name: event.producer for name, event in model.event_types.items()})


def _examples(names: Mapping[str, str]) -> str:
    shown = ", ".join(sorted(names)[:6])
    return f": {shown}" + (", …" if len(names) > 6 else "")
