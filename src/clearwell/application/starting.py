"""Starting a project: an empty one with a first flow to change, or a copy of an example."""

from __future__ import annotations

import json
from pathlib import Path

from clearwell.errors import UsageError
from clearwell.settings import FILE_NAME

_SETTINGS = """\
# The settings of this project; every key is optional (docs/guides/first-flow.md).
name: {name}
time_zone: UTC            # whose days count as business days
# currencies: {{USDC: 6}}   # beside ISO 4217: code and number of decimals
# variables: {{orders: ../orders}}   # what sources read with getvariable('orders')
"""

_FLOW = """\
flow: card_payments
owner: payments-engineering
description: A card charge, from its creation to the business's balance.
accounts:
  card_network_receivable: {kind: reservoir, properties: [network]}
  charge_undisbursed:
    kind: clearing
    properties: [charge, business]
    clears_within: 10 minutes
  business_balance: {kind: reservoir, properties: [business]}
  platform_fees: {kind: reservoir, properties: []}
events:
  charge.creation:
    producer: charges
    arrives_within: 5 minutes
    moves:
      - {amount: gross, from: card_network_receivable, to: charge_undisbursed}
  charge.release:
    producer: disbursements
    moves:
      - {amount: net, from: charge_undisbursed, to: business_balance}
      - {amount: fee, from: charge_undisbursed, to: platform_fees}
"""

_EVENTS = """\
{"type": "charge.creation", "id": "evt_1", "effective_at": "2026-01-02T03:04:05Z", "occurred_at": "2026-01-02T03:04:05Z", "properties": {"charge": "ch_1", "business": "acct_A", "network": "visa"}, "amounts": {"gross": {"value": 1000, "currency": "USD"}}}
{"type": "charge.creation", "id": "evt_2", "effective_at": "2026-01-02T03:05:00Z", "occurred_at": "2026-01-02T03:05:00Z", "currency": "USD", "properties": {"charge": "ch_2", "business": "acct_A", "network": "visa"}, "amounts": {"gross": 2500}}
{"type": "charge.release", "id": "evt_3", "effective_at": "2026-01-02T03:06:00Z", "occurred_at": "2026-01-02T03:06:00Z", "currency": "USD", "properties": {"charge": "ch_1", "business": "acct_A"}, "amounts": {"net": 970, "fee": 30}}
"""  # noqa: E501  (Events are lines.)


def examples_folder() -> Path:
    """Where the examples are: in the package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "_examples"
    return packaged if packaged.is_dir() else package.parent.parent / "examples"


def example_names() -> list[str]:
    """The examples that a project can start from."""
    return sorted(path.parent.name for path in examples_folder().glob(f"*/{FILE_NAME}"))


def start_project(folder: Path, example: str | None = None) -> list[Path]:
    """Make `folder` a project; returns the files written.

    Raises UsageError when it is one already, when it has files of these names, and for an unknown example.
    """
    if (folder / FILE_NAME).exists():
        raise UsageError("project_exists", f"{folder} is a Clearwell project already")
    if example is None:
        return _write(
            folder,
            {
                FILE_NAME: _SETTINGS.format(name=_quoted(folder.resolve().name)),
                "flows/card_payments.yaml": _FLOW,
                "events/first.ndjson": _EVENTS,
            },
        )
    if example not in example_names():
        raise UsageError("example_unknown", f"expected one of {', '.join(example_names())}, found {example!r}")
    source = examples_folder() / example
    texts = {
        str(path.relative_to(source)): path.read_text(encoding="utf-8")
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.relative_to(source).parts[0] != "data"
    }
    return _write(folder, texts)


def _quoted(name: str) -> str:
    """`name` as a string of YAML, whatever characters a folder's name has."""
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return json.dumps(printable, ensure_ascii=False)


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    existing = [name for name in texts if (folder / name).exists()]
    if existing:
        raise UsageError("file_exists", f"{folder} has {', '.join(existing)} already: nothing was written")
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
