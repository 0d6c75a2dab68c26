"""What arrivals are of: which events bring money into an account type, by the model under which they were posted."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from clearwell.flows.load import load_model
from clearwell.flows.model import Model
from clearwell.quality.expectations.subjects import Subject, amounts, conditions

FLOW = """{flow: f, owner: o,
accounts: {pool: {kind: reservoir, properties: []}, c: {kind: clearing, properties: [p], clears_within: 1 hour},
  fees: {kind: reservoir, properties: []}, origin: {kind: reservoir, properties: []}},
events: {
  fill: {producer: a, moves: [{amount: x, from: origin, to: c}]},
  drain: {producer: a, amounts: {x: {signed: true}},
    moves: [{amount: x, from: c, to: pool}, {amount: fee, from: c, to: fees}]}}}"""


def model_of(text: str) -> Model:
    model, problems = load_model({"flow.yaml": text})
    assert model is not None, problems
    return model


def own(events: list[dict[str, Any]], model: Model, *earlier: Model) -> dict[str, list[int]]:
    """The places of the events that are of each subject; an event is of the newest model unless it says another."""
    models = {item.version: item for item in (*earlier, model)}
    rows = [{"model_version": model.version, "amount_x": None, "amount_fee": None, **event} for event in events]
    texts = {"type": pl.String, "model_version": pl.String}
    frame = pl.DataFrame(rows, schema={**texts, **dict.fromkeys(amounts(models), pl.Int64)}).with_row_index("place")
    return {
        subject.name: frame.filter(condition)["place"].to_list()
        for subject, condition in conditions(models, model).items()
    }


def test_what_fills_an_account_type() -> None:
    """By amounts above zero at the move's end, and below zero at its start where the amount is signed."""
    events = [
        {"type": "fill", "amount_x": 5},
        {"type": "fill", "amount_x": 0},
        {"type": "drain", "amount_x": 4, "amount_fee": 1},
        {"type": "drain", "amount_x": 4, "amount_fee": 0},
        {"type": "drain", "amount_x": -4, "amount_fee": 0},
    ]
    assert own(events, model_of(FLOW)) == {
        "fill": [0, 1],
        "drain": [2, 3, 4],
        "pool": [2, 3],
        "c": [0, 4],
        "fees": [2],
    }, "nothing can fill the account type `origin`"


@pytest.mark.parametrize("version", ["old", "new"])
def test_the_model_of_an_event_says_what_it_fills(version: str) -> None:
    """Where an event type moves otherwise from some model on, each event counts as it was posted."""
    old, new = model_of(FLOW), model_of(FLOW.replace("from: origin, to: c", "from: c, to: pool"))
    posted = {"old": old, "new": new}[version].version
    found = own([{"type": "fill", "amount_x": 5, "model_version": posted}], new, old)
    assert (found["c"], found["pool"]) == {"old": ([0], []), "new": ([], [0])}[version]


def test_event_types_come_first() -> None:
    """In the order of the model."""
    model = model_of(FLOW)
    assert list(conditions({model.version: model}, model))[:3] == [
        Subject("event_type", "fill"),
        Subject("event_type", "drain"),
        Subject("account_type", "pool"),
    ]
