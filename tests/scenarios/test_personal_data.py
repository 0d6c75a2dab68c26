"""A customer asks to be forgotten: her data is gone from every file, and the money is proved as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from stories import Story

from clearwell.cli.main import main

FLOW = """\
flow: card_payments
owner: payments-engineering
accounts:
  card_network_receivable: {kind: reservoir, properties: [network]}
  charge_undisbursed: {kind: clearing, properties: [charge, business], clears_within: 10 minutes}
  business_balance: {kind: reservoir, properties: [business]}
events:
  charge.creation:
    producer: charges
    properties:
      network: {}
      charge: {}
      business: {}
      customer: {}
      cardholder_name: {personal: true, subject: customer}
      email: {personal: true, subject: customer}
    moves:
      - {amount: gross, from: card_network_receivable, to: charge_undisbursed}
  charge.release:
    producer: disbursements
    moves:
      - {amount: gross, from: charge_undisbursed, to: business_balance}
"""

PEOPLE = {
    "cus_7f3a": ("Wilhelmina Adler", "wilhelmina@adler.example"),
    "cus_91bc": ("Otto Brand", "otto@brand.example"),
}
AT = ("--at", "2026-01-02T12:00:00Z")
BOOKS = ("--at", "2026-01-02T12:00:00Z", "--known-at", "12")


def event(kind: str, number: int, **properties: str) -> dict[str, Any]:
    return {
        "type": kind,
        "id": f"{kind}-{number}",
        "effective_at": f"2026-01-02T03:{number:02}:00Z",
        "occurred_at": f"2026-01-02T03:{number:02}:00Z",
        "currency": "EUR",
        "properties": {"charge": f"ch_{number}", "business": "acct_A", **properties},
        "amounts": {"gross": 1000 + number},
    }


def creation(number: int) -> dict[str, Any]:
    customer = sorted(PEOPLE)[number % 2]
    name, email = PEOPLE[customer]
    return event("charge.creation", number, network="visa", customer=customer, cardholder_name=name, email=email)


def files_holding(folder: Path, *texts: str) -> list[str]:
    """The files of the data folder that hold one of the texts, compressed or not."""
    found = []
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pl.read_parquet(path).write_ndjson().encode()
        if any(text.encode() in content for text in texts):
            found.append(path.name)
    return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Eight charges of two customers, four of them released, and one record of each customer in quarantine."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "flows").mkdir()
    (folder / "clearwell.yaml").write_text("name: shop\n")
    (folder / "flows" / "card_payments.yaml").write_text(FLOW)
    records = [creation(number) for number in range(8)] + [event("charge.release", number) for number in range(4)]
    broken = [{**creation(number), "id": f"broken-{number}", "amounts": {}} for number in (8, 9)]
    (folder / "events.ndjson").write_text("".join(json.dumps(item) + "\n" for item in [*records, *broken]))
    told = Story(folder)
    assert told.say("ingest", str(folder / "events.ndjson")).exit_code == 1
    return told


def told_by(story: Story, customer: str) -> set[tuple[str, str]]:
    events = story.ask("trace", f"customer={customer}", *AT)["events"]
    return {(item["properties"]["cardholder_name"], item["properties"]["email"]) for item in events}


def books_of(story: Story) -> list[Any]:
    """Everything that is said of money, at one cut."""
    verified = story.ask("verify")
    assert verified["ok"]
    return [
        verified["head"],
        story.ask("status", *BOOKS),
        story.ask("open", *BOOKS),
        story.ask("balance", "business_balance", *BOOKS),
        story.rows("SELECT account, currency, amount FROM entries ORDER BY sequence, entry_index", *BOOKS),
    ]


def test_a_customer_is_forgotten(story: Story) -> None:
    """Before, her name is read by whoever may; after, by nobody and from no file, and every figure is as it was."""
    data = story.folder / "data"
    her, him = sorted(PEOPLE)
    assert told_by(story, her) == {PEOPLE[her]}
    assert story.say("compact").exit_code == 0
    assert files_holding(data, *PEOPLE[her]) == ["catalog.sqlite"], "only quarantine keeps records as they came"
    before = books_of(story)
    proof, checkpoint = story.folder / "proof.json", story.folder / "checkpoint.txt"
    assert story.say("prove", "charge.creation-0", "--out", str(proof)).exit_code == 0
    assert story.say("checkpoint", "--out", str(checkpoint)).exit_code == 0
    assert PEOPLE[her][0] not in proof.read_text(), "whoever gets a proof learns nothing personal"

    done = story.ask("forget", her, "--yes")
    assert done == {"subject": her, "key": "destroyed", "quarantined": 1, "in_clear": []}

    assert told_by(story, her) == {("(erased)", "(erased)")}
    assert told_by(story, him) == {PEOPLE[him]}
    assert files_holding(data, *PEOPLE[her]) == []
    assert files_holding(data, *PEOPLE[him]) == ["catalog.sqlite"]
    assert books_of(story) == before
    assert story.say("verify", "--checkpoint", str(checkpoint)).exit_code == 0
    root = json.loads(proof.read_text())["root"]
    assert main(["verify-proof", str(proof), "--root", root]) == 0


def test_then_everything_goes_on(story: Story) -> None:
    """The producers send everything again, and more: nothing is counted twice, and nothing of her is kept."""
    her, _ = sorted(PEOPLE)
    story.ask("forget", her, "--yes")
    again = story.say("ingest", str(story.folder / "events.ndjson"), "--json")
    answer = json.loads(again.out)
    assert (answer["accepted"], answer["duplicates"], answer["quarantined"]) == (0, 12, 2)
    late = story.folder / "late.ndjson"
    late.write_text(json.dumps(creation(20)) + "\n" + json.dumps(event("charge.release", 20)) + "\n")
    assert story.ask("ingest", str(late))["accepted"] == 2
    late.unlink()
    assert told_by(story, her) == {("(erased)", "(erased)")}
    assert files_holding(story.folder / "data", *PEOPLE[her]) == []
    assert story.ask("rebuild")["events"] == 14
    assert story.ask("verify")["ok"]


def test_the_search_through_files_can_find(story: Story, tmp_path: Path) -> None:
    """The check can fail: what a table holds in clear is found, although the file is compressed."""
    pl.DataFrame({"name": ["Wilhelmina Adler"] * 1000}).write_parquet(tmp_path / "clear.parquet")
    assert files_holding(tmp_path, "Wilhelmina") == ["clear.parquet"]
