"""Currencies and their exponents: ISO 4217, and those a project declares beside it.

Money is whole minor units of one currency; this module prints it exactly and never converts it.
Codes without an exponent in ISO 4217 (gold, special drawing rights, test codes) are not currencies here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from clearwell.errors import DataError

_ISO_CODES: Mapping[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
          CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
          HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK
          MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD
          RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
          USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
# Withdrawn since 2021, and kept because books reach back further than the list does. All have exponent 2.
_WITHDRAWN_CODES = "ANG BGN CUC HRK SLL ZWL"

ISO_4217: Mapping[str, int] = MappingProxyType(
    {code: exponent for exponent, codes in _ISO_CODES.items() for code in codes.split()}
    | dict.fromkeys(_WITHDRAWN_CODES.split(), 2)
)
"""Currency code to exponent, i.e. the number of decimals of its minor unit."""

_CODE = re.compile(r"[A-Z][A-Z0-9]{2,11}")
_LARGEST_EXPONENT = 18


class Currencies(Mapping[str, int]):
    """Currency code to exponent: ISO 4217 and the declared ones; never changed after construction."""

    __slots__ = ("_exponents",)

    def __init__(self, declared: Mapping[str, int] | None = None) -> None:
        """Take the project's own currencies.

        Raises DataError (`currency_code_invalid`, `currency_exponent_invalid`, `currency_redefined`).
        """
        for code, exponent in (declared or {}).items():
            _check_declaration(code, exponent)
        self._exponents = MappingProxyType({**ISO_4217, **(declared or {})})

    def __getitem__(self, code: str) -> int:
        return self._exponents[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._exponents)

    def __len__(self) -> int:
        return len(self._exponents)

    def __repr__(self) -> str:
        declared = {code: exponent for code, exponent in self.items() if code not in ISO_4217}
        return f"Currencies({declared})"

    def format_minor(self, amount_minor: int, currency: str) -> str:
        """Return `amount_minor` in major units with thousands separators: 123456 USD is `1,234.56`.

        Raises ValueError for a currency that is not known.
        """
        exponent = self._exponent(currency)
        sign = "-" if amount_minor < 0 else ""
        whole, fraction = divmod(abs(amount_minor), 10**exponent)
        decimals = f".{fraction:0{exponent}d}" if exponent else ""
        return f"{sign}{whole:,}{decimals}"

    def _exponent(self, currency: str) -> int:
        exponent = self._exponents.get(currency)
        if exponent is None:
            raise ValueError(f"expected a currency of ISO 4217 or of the project, found {currency!r}")
        return exponent


def _check_declaration(code: object, exponent: object) -> None:
    """Raise DataError unless the pair may be declared. Settings files can hold any type, so it is checked."""
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise DataError(
            "currency_code_invalid",
            f"expected a currency code of 3 to 12 capital letters and digits, a letter first, found {code!r}",
        )
    if not isinstance(exponent, int) or isinstance(exponent, bool) or not 0 <= exponent <= _LARGEST_EXPONENT:
        raise DataError(
            "currency_exponent_invalid",
            f"currency {code}: expected a whole exponent from 0 to {_LARGEST_EXPONENT}, found {exponent!r}",
        )
    if ISO_4217.get(code, exponent) != exponent:
        raise DataError(
            "currency_redefined",
            f"currency {code}: expected the exponent {ISO_4217[code]} of ISO 4217, found {exponent}",
        )
