"""What findings are about, as it is printed: names of accounts, and PRODUCER/ID of events. Whole columns at once."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from clearwell.flows.model import AccountType
from clearwell.ledger.views import quoted_text
from clearwell.values.accounts import SEPARATOR, keys_named

EVENT = pl.concat_str("producer", pl.lit("/"), "id")
"""The subject of a late event."""


def account_names(account_types: Iterable[AccountType]) -> str:
    """The names of accounts as SQL over `account_type` and `account`, as `values.accounts.account_name` prints them."""
    cases = " ".join(f"WHEN {quoted_text(item.name)} THEN {_name(item)}" for item in account_types)
    return f"CASE account_type {cases} END"


def _name(item: AccountType) -> str:
    lead, parts = f"{item.name}{{", list[str]()
    for place, name in enumerate(item.properties, start=1):
        parts += [quoted_text(f"{lead}{name}="), f"split_part(account, chr({ord(SEPARATOR)}), {place})"]
        lead = ", "
    return " || ".join([*parts, quoted_text("}" if parts else f"{lead}}}")])


def accounts_named(names: pl.Series, account_types: Iterable[AccountType]) -> pl.DataFrame:
    """`account_type` and `account` (its key) of every account that prints as one of `names`, with its `subject`."""
    schema = {"account_type": pl.String, "account": pl.String, "subject": pl.String}
    found = [pl.DataFrame(schema=schema)]
    frame = names.alias("subject").to_frame()
    for item in account_types:
        lead = f"{item.name}{{"
        own = frame.filter(pl.col("subject").str.starts_with(lead), ~pl.col("subject").str.contains(SEPARATOR))
        plain = _plainly(own, item, lead)
        others = own.join(plain, on="subject", how="anti")["subject"].to_list()
        several = [(item.name, key, name) for name in others for key in keys_named(name, item.name, item.properties)]
        found.append(plain.select(pl.lit(item.name).alias("account_type"), "account", "subject"))
        found.append(pl.DataFrame(several, schema, orient="row"))
    return pl.concat(found)


def _plainly(names: pl.DataFrame, item: AccountType, lead: str) -> pl.DataFrame:
    """The `account` of names that can be read in one way alone: what stands between values is there once."""
    if not item.properties:
        return names.filter(pl.col("subject") == f"{lead}}}").with_columns(account=pl.lit(""))
    first, *others = item.properties
    key = pl.col("subject").str.strip_prefix(f"{lead}{first}=").str.strip_suffix("}")
    for name in others:
        key = key.str.replace_all(f", {name}=", SEPARATOR, literal=True)
    values = pl.col("account").str.split(SEPARATOR)
    parts: list[pl.Expr] = []
    for place, name in enumerate(item.properties):
        parts += [pl.lit(f"{', ' if place else lead}{name}="), values.list.get(place, null_on_oob=True)]
    whole = pl.concat_str(*parts, pl.lit("}"))
    return names.with_columns(account=key).filter(
        pl.col("account").str.count_matches(SEPARATOR, literal=True) == len(others), whole == pl.col("subject")
    )
