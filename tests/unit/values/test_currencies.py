"""Currencies: the list, declarations, and money as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.errors import DataError
from clearwell.values.currencies import ISO_4217, Currencies

CURRENCIES = Currencies({"POINTS": 0, "ETH": 18})


@pytest.mark.parametrize(
    ("code", "exponent"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XCG", 2), ("ETH", 18)]
)
def test_exponent_is_known(code: str, exponent: int) -> None:
    """A currency of the list or of the project has its exponent."""
    assert CURRENCIES[code] == exponent


def test_iso_list_has_no_codes_without_exponent() -> None:
    """Metals and test codes are not currencies; every exponent is one that the standard uses."""
    assert not {"XAU", "XDR", "XXX", "XTS"} & ISO_4217.keys()
    assert set(ISO_4217.values()) == {0, 2, 3, 4}


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ({"usd": 2}, "currency_code_invalid"),
        ({"X": 2}, "currency_code_invalid"),
        ({"X" * 13: 2}, "currency_code_invalid"),
        ({"COIN": 19}, "currency_exponent_invalid"),
        ({"COIN": -1}, "currency_exponent_invalid"),
        ({"COIN": True}, "currency_exponent_invalid"),
        ({"USD": 3}, "currency_redefined"),
    ],
)
def test_bad_declaration_is_refused(declared: dict[str, int], code: str) -> None:
    """A declaration that cannot be meant raises with its code."""
    with pytest.raises(DataError) as raised:
        Currencies(declared)
    assert raised.value.code == code


def test_same_exponent_again_is_accepted() -> None:
    """Declaring an ISO currency with its own exponent changes nothing."""
    assert Currencies({"USD": 2}) == Currencies()


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (123456, "USD", "1,234.56"),
        (1234, "JPY", "1,234"),
        (-5, "EUR", "-0.05"),
        (0, "KWD", "0.000"),
        (-100000000, "USD", "-1,000,000.00"),
    ],
)
def test_format_examples(amount_minor: int, currency: str, text: str) -> None:
    """Money is written with thousands separators and all decimals."""
    assert CURRENCIES.format_minor(amount_minor, currency) == text


@given(st.integers(), st.sampled_from(sorted(CURRENCIES)))
def test_no_digit_is_lost(amount_minor: int, currency: str) -> None:
    """Without its separators the text is the number of minor units, for any amount and currency."""
    text = CURRENCIES.format_minor(amount_minor, currency)
    assert int(text.replace(",", "").replace(".", "")) == amount_minor
    assert len(text.partition(".")[2]) == CURRENCIES[currency]


def test_unknown_currency_is_refused() -> None:
    """An unknown currency is not printed."""
    with pytest.raises(ValueError, match="found 'XYZ'"):
        CURRENCIES.format_minor(1, "XYZ")
