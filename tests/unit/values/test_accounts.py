"""Account keys and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.values.accounts import (
    MOST_READINGS,
    SEPARATOR,
    account_key,
    account_name,
    account_values,
    keys_named,
)

property_values = st.text(st.characters(exclude_characters=SEPARATOR))


@given(st.lists(property_values).map(tuple))
def test_key_round_trip(values: tuple[str, ...]) -> None:
    """The values that made a key come back from it, whatever they are."""
    assert account_values(account_key(values), len(values)) == values


def test_key_refuses_separator() -> None:
    """A value with the separator is refused, since two accounts could share one key."""
    with pytest.raises(ValueError, match="without the unit separator"):
        account_key(["a", f"b{SEPARATOR}c"])


@pytest.mark.parametrize(("key", "count"), [("a", 0), ("a", 2), (f"a{SEPARATOR}b", 1)])
def test_values_refuse_other_count(key: str, count: int) -> None:
    """A key with another number of values is refused."""
    with pytest.raises(ValueError, match=f"with {count} property values"):
        account_values(key, count)


def test_name_shows_properties_in_order() -> None:
    """The display name lists the properties in the given order, and none as empty braces."""
    name = account_name("charge_undisbursed", {"charge": "ch_1", "business": "acct_A"})
    assert name == "charge_undisbursed{charge=ch_1, business=acct_A}"
    assert account_name("platform_fees", {}) == "platform_fees{}"


def test_a_name_is_read_back_in_every_way() -> None:
    """Where a value has what stands between values, two accounts print the same, and both are told."""
    name = account_name("c", {"p": "a, q=b", "q": "c"})
    assert name == account_name("c", {"p": "a", "q": "b, q=c"})
    assert keys_named(name, "c", ["p", "q"]) == [account_key(["a", "b, q=c"]), account_key(["a, q=b", "c"])]
    assert keys_named("c{}", "c", []) == [""]
    for other in ("c{p=a}", "d{p=a, q=b}", "c{p=a, q=b", f"c{{p=a{SEPARATOR}, q=b}}"):
        assert keys_named(other, "c", ["p", "q"]) == []


def test_a_name_made_up_to_be_read_in_many_ways_takes_no_time() -> None:
    """Only the first readings are looked at, and where there is none, that is seen at once."""
    many = "c{p=" + ", q=" * 60 + ", r=" * 60 + ", s=" * 60
    assert len(keys_named(many + "}", "c", ["p", "q", "r", "s"])) == MOST_READINGS
    assert keys_named(many + "}", "c", ["p", "q", "r", "s", "t"]) == []
