"""Account keys and display names: one account is its account type and a value for each of its properties.

A key is what tables join on; a name is what people read. Of a name that somebody wrote down, `keys_named` gives every
key that prints so: more than one, where a value holds what stands between values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

MOST_READINGS = 1_000
"""So many keys of one name are looked at; only a name that was made up to have more has more."""

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


def keys_named(name: str, account_type: str, properties: Sequence[str]) -> list[str]:
    """Return the keys of the accounts of a type with these properties that `account_name` prints as `name`.

    The first `MOST_READINGS` of them; none where the name is not of the type.
    """
    lead, *leads = [f"{account_type}{{", *(f", {item}=" for item in properties)]
    if not (name.startswith(lead) and name.endswith("}")) or SEPARATOR in name:
        return []
    inside = name[len(lead) : -1]
    if not leads:
        return [] if inside else [""]
    return [SEPARATOR.join(values) for values in islice(_readings(f", {inside}", leads), MOST_READINGS)]


def _readings(text: str, leads: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The ways to read `text` as each lead with a value behind it."""
    first, *others = leads
    if not text.startswith(first):
        return
    own = text[len(first) :]
    if not others:
        yield (own,)
        return
    place = own.find(others[0])
    while place >= 0 and _fits(own[place:], others):
        yield from ((own[:place], *rest) for rest in _readings(own[place:], others))
        place = own.find(others[0], place + 1)


def _fits(text: str, leads: Sequence[str]) -> bool:
    """Whether `text` has all leads, one behind the other: without a look, dead ends could be very many."""
    place = 0
    for lead in leads:
        place = text.find(lead, place)
        if place < 0:
            return False
        place += len(lead)
    return True
