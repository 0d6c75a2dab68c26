"""Account keys and display names: one account is its account type and a value for each of its properties.

A key is what tables join on; a name is what people read. Neither is ever parsed out of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SEPARATOR = "\x1f"
"""Joins the property values in an account key; the ASCII unit separator, refused inside property values."""


def account_key(values: Sequence[str]) -> str:
    """Return the key of an account: its property values, in the account type's order, joined by `SEPARATOR`.

    Raises ValueError when a value contains the separator, since two accounts could then share one key.
    """
    for value in values:
        if SEPARATOR in value:
            raise ValueError(f"expected a property value without the unit separator (U+001F), found {value!r}")
    return SEPARATOR.join(values)


def account_values(key: str, count: int) -> tuple[str, ...]:
    """Return the `count` property values of a key.

    An account type without properties has the empty key. Raises ValueError when the key holds another number.
    """
    values = tuple(key.split(SEPARATOR)) if count or key else ()
    if len(values) != count:
        raise ValueError(f"expected an account key with {count} property values, found {len(values)} in {key!r}")
    return values


def account_name(account_type: str, properties: Mapping[str, str]) -> str:
    """Return the display name, such as
    `charge_undisbursed{charge=ch_1, business=acct_A}` or `platform_fees{}`."""
    inside = ", ".join(f"{name}={value}" for name, value in properties.items())
    return f"{account_type}{{{inside}}}"
