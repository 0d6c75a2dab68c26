"""The benchmark's flows as plain relations: what somebody without Clearwell would write to get entries from records."""

from __future__ import annotations

from dataclasses import dataclass

from ruamel.yaml import YAML

from projects import HERE


@dataclass(frozen=True)
class Side:
    """One side of a move: the entry with number `place` of an event of this type."""

    event_type: str
    producer: str
    place: int
    account_type: str
    clearing: bool
    columns: tuple[str, ...]
    amount: str
    sign: int

    def select(self, records: str) -> str:
        """The entries of this side as a SELECT over a relation of records."""
        account = f"concat_ws('/', {', '.join(self.columns)})" if self.columns else "''"
        return (
            f"SELECT '{self.producer}' AS producer, id, {self.place} AS entry_index, "
            f"'{self.account_type}' AS account_type, {account} AS account, currency, "
            f"{self.sign} * {self.amount} AS amount, effective_at FROM {records} WHERE type = '{self.event_type}'"
        )


def sides(*, only_clearing: bool = False) -> list[Side]:
    """The sides of every move of the benchmark's flows, in the order of the files."""
    models = [YAML(typ="safe").load(path) for path in sorted((HERE / "flows").glob("*.yaml"))]
    accounts = {name: declared for model in models for name, declared in model["accounts"].items()}
    found = []
    for model in models:
        for event_type, event in model["events"].items():
            ends = [(move, end) for move in event["moves"] for end in ("from", "to")]
            for place, (move, end) in enumerate(ends):
                account = accounts[move[end]]
                columns = tuple(f"property_{name}" for name in account["properties"])
                sign, clearing = (-1 if end == "from" else 1), account["kind"] == "clearing"
                amount = f"amount_{move['amount']}"
                found.append(Side(event_type, event["producer"], place, move[end], clearing, columns, amount, sign))
    return [side for side in found if side.clearing or not only_clearing]


def entries_query(records: str, *, only_clearing: bool = False) -> str:
    """All entries of a relation of records, as one SELECT."""
    return " UNION ALL ".join(side.select(records) for side in sides(only_clearing=only_clearing))
