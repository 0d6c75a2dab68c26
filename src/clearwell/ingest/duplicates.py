"""Tells new events from repeated ones. Identity is (producer, id), and equality is of the whole content.

The same content again is a duplicate, and is counted. Other content under a known identity is a conflict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from clearwell.ingest.identities import Identities, identity_hash
from clearwell.ingest.personal import Contents, Decryption, may_be_encrypted
from clearwell.ledger.rejections import SCHEMA, RejectionCode, no_rejections
from clearwell.values import columns
from clearwell.values.encrypted import Unreadable
from clearwell.values.frames import extended, filtered

_NOT_CONTENT = {
    "position",
    "sequence",
    "recorded_at",
    "flow",
    "model_version",
    "identity_hash",
    "producer",
    "id",
}
_SHOWN = 5

EventsAt = Callable[[npt.NDArray[np.int64]], pl.DataFrame]
"""The events of the log with these sequences."""


@dataclass(frozen=True)
class Deduplicated:
    """`fresh` are the new events in input order, with `identity_hash`; `conflicts` is a frame of rejections.

    `duplicates` are the positions of repeated ones.
    """

    fresh: pl.DataFrame
    duplicates: pl.Series
    conflicts: pl.DataFrame


def deduplicate(events: pl.DataFrame, known: Identities, events_at: EventsAt, decryption: Decryption) -> Deduplicated:
    """Split validated and encrypted `events` (with `position`) into new, repeated and conflicting ones."""
    hashed = extended(events, identity_hash())
    against_log = _against_log(hashed, known, events_at, decryption)
    against_batch = _against_batch(hashed, against_log["position"], decryption)
    if against_log.is_empty() and against_batch.is_empty():
        return Deduplicated(hashed, against_log["position"], no_rejections())
    seen = pl.concat([against_log, against_batch])
    again = np.isin(hashed["position"].to_numpy(), seen["position"].to_numpy())
    same = seen.filter(pl.col("differs") == "")
    return Deduplicated(filtered(hashed, pl.Series(~again)), same["position"], _conflicts(seen))


def recorded_before(
    refused: pl.DataFrame, known: Identities, events_at: EventsAt, decryption: Decryption
) -> pl.DataFrame:
    """The `position` of refused records that are events of the log, to the letter.

    They were accepted under an earlier model; what the model asks for now does not undo that.
    """
    if refused.is_empty():
        return _NOWHERE
    named = refused.filter(pl.col("id").is_not_null(), pl.col("producer").is_not_null())
    seen = _against_log(named.with_columns(identity_hash()), known, events_at, decryption)
    return seen.filter(pl.col("differs") == "").select("position").unique()


_NOWHERE = pl.DataFrame(schema={"position": pl.Int64})

_SEEN_SCHEMA = pl.Schema({"position": pl.Int64, "differs": pl.String, "where": pl.String})
_NOTHING_SEEN = pl.DataFrame(schema=_SEEN_SCHEMA)


def _against_log(hashed: pl.DataFrame, known: Identities, events_at: EventsAt, decryption: Decryption) -> pl.DataFrame:
    """The events whose identity is in the log, with the names of the fields that differ there ('' when none does)."""
    places, sequences = known.matches(hashed["identity_hash"].to_numpy())
    if not len(places):
        return _NOTHING_SEEN
    candidates = hashed[places].with_columns(sequence=pl.Series(sequences))
    compared = _compared(
        candidates,
        events_at(np.unique(sequences)),
        ["sequence", "producer", "id"],
        pl.format("sequence {}", "sequence"),
    )
    return _same_properties_kept_otherwise(compared, decryption)


def _against_batch(hashed: pl.DataFrame, known: pl.Series, decryption: Decryption) -> pl.DataFrame:
    """The events whose identity came earlier in this batch, and is not `known` by their `position` already."""
    repeated = _repeated(hashed["identity_hash"].to_numpy())
    suspects = hashed[repeated].filter(~pl.col("position").is_in(known.implode())) if len(repeated) else hashed.clear()
    if suspects.is_empty():
        return _NOTHING_SEEN
    firsts = suspects.unique(["producer", "id"], keep="first", maintain_order=True)
    repeats = suspects.join(firsts.select("position"), on="position", how="anti", maintain_order="left")
    compared = _compared(repeats, firsts.drop("position"), ["producer", "id"], pl.lit("the same batch"))
    return _same_properties_kept_otherwise(compared, decryption)


def _repeated(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The places of all values that are there more than once, in order."""
    order = np.argsort(hashes)
    same = hashes[order[1:]] == hashes[order[:-1]]
    return np.unique(np.concatenate([order[1:][same], order[:-1][same]]))


def _compared(events: pl.DataFrame, others: pl.DataFrame, keys: list[str], where: pl.Expr) -> pl.DataFrame:
    """Join on the full identity, and name the content columns that differ."""
    content = sorted((set(events.columns) | set(others.columns)) - _NOT_CONTENT)
    given = [name for name in content if name in events.columns]
    mine = events.select("position", *keys, *(pl.col(name).alias(f"mine_{name}") for name in given))
    theirs = others.select(*keys, *(pl.col(name).alias(f"theirs_{name}") for name in content if name in others.columns))
    joined = mine.join(theirs, on=keys, how="inner", maintain_order="left")
    missing = pl.lit(None)
    differs = [
        pl.when(
            ~(pl.col(f"mine_{name}") if name in events.columns else missing).eq_missing(
                pl.col(f"theirs_{name}") if name in others.columns else missing
            )
        ).then(pl.lit(name))
        for name in content
    ]
    named = pl.concat_list(differs).list.drop_nulls().list.head(_SHOWN).list.join(", ")
    return joined.with_columns(differs=named, where=where)


def _same_properties_kept_otherwise(compared: pl.DataFrame, decryption: Decryption) -> pl.DataFrame:
    """Clear the difference where it is only one of form; gives the columns of `_SEEN_SCHEMA`.

    A property that was declared since has a column now; one that has become personal since, or no more, or whose
    subject is another now, is encrypted otherwise; what was erased equals any value. Looks, row by row, at the few that
    differ and may do so.
    """
    seen = compared.select("position", "differs", "where").cast(_SEEN_SCHEMA)
    differing = compared.filter(pl.col("differs") != "")
    suspects = [] if differing.is_empty() else differing.filter(_may_be_kept_otherwise(differing)).to_dicts()
    decrypted = _decrypted(suspects, decryption)
    same = [
        row["position"]
        for row in suspects
        if all(name.startswith(_PROPERTIES) for name in row["differs"].split(", "))
        and row["mine_type"] == row["theirs_type"]  # `differs` does not name every field.
        and _say_the_same(_properties(row, "mine_"), _properties(row, "theirs_"), decrypted)
    ]
    if not same:
        return seen
    cleared = pl.when(pl.col("position").is_in(same)).then(pl.lit("")).otherwise(pl.col("differs"))
    return seen.with_columns(differs=cleared)


_PROPERTIES = (columns.PROPERTY_PREFIX, columns.OTHER_PROPERTIES)
_SIDES = ("mine_", "theirs_")


def _may_be_kept_otherwise(compared: pl.DataFrame) -> pl.Expr:
    others = [side + columns.OTHER_PROPERTIES for side in _SIDES]
    prefixes = tuple(side + columns.PROPERTY_PREFIX for side in _SIDES)
    encrypted = [name for name in compared.columns if name.startswith(prefixes)]
    return pl.any_horizontal(
        pl.lit(value=False),
        *(pl.col(name).is_not_null() for name in others if name in compared.columns),
        *(may_be_encrypted(pl.col(name)).fill_null(value=False) for name in encrypted),
    )


def _decrypted(suspects: Sequence[Mapping[str, Any]], decryption: Decryption) -> dict[str, Contents]:
    """By property, what the stored texts of both sides say."""
    texts: dict[str, set[str]] = {}
    for row in suspects:
        for side in _SIDES:
            for name, text in _properties(row, side).items():
                texts.setdefault(name, set()).add(text)
    return {name: decryption.contents(name, found) for name, found in texts.items()}


def _say_the_same(mine: Mapping[str, str], theirs: Mapping[str, str], decrypted: Mapping[str, Contents]) -> bool:
    """Whether both have the same properties with the same values, as far as can still be told."""

    def same(name: str) -> bool:
        both = (decrypted[name][mine[name]], decrypted[name][theirs[name]])
        return mine[name] == theirs[name] or Unreadable.ERASED in both or (both[0] == both[1] != Unreadable.LOST)

    return mine.keys() == theirs.keys() and all(map(same, mine))


def _properties(row: Mapping[str, Any], side: str) -> dict[str, str]:
    """All properties of one side as texts, wherever they are kept."""
    prefix = side + columns.PROPERTY_PREFIX
    found = {
        name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix) and value is not None
    }
    others = json.loads(row.get(side + columns.OTHER_PROPERTIES) or "{}")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in others.items()}
    return {**found, **texts}


def _conflicts(seen: pl.DataFrame) -> pl.DataFrame:
    conflicts = seen.filter(pl.col("differs") != "")
    if conflicts.is_empty():
        return no_rejections()
    return conflicts.select(
        "position",
        code=pl.lit(RejectionCode.EVENT_ID_CONFLICT.value),
        field=pl.lit("id"),
        expected=pl.format("the content of the event with this id in {}", "where"),
        found=pl.format("other values of {}", "differs"),
    ).select(*SCHEMA)
