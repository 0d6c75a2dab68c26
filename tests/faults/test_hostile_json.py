"""NDJSON as nobody should write it: a named code for each line, and the good lines beside it come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import Command, prove, waiting

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
Creations = Callable[[int, int], list[dict[str, Any]]]

_LINE = (
    '{"type":"charge.creation","id":"bad","effective_at":"2026-01-02T03:04:05Z","occurred_at":"2026-01-02T03:04:05Z",'
    '"properties":{"charge":"ch_1","business":"acct_A","network":"visa"%s},'
    '"amounts":{"gross":{"value":%s,"currency":"USD"%s}}%s}'
)


def line(*, properties: str = "", value: str = "10", amount: str = "", record: str = "") -> bytes:
    """A line of NDJSON with something put in, as it stands."""
    return (_LINE % (properties, value, amount, record)).encode("utf-8", "surrogatepass")


def nested(opening: str, closing: str, depth: int, inside: str = "1") -> str:
    return opening * depth + inside + closing * depth


DEEP = 100_000
REFUSED: dict[str, tuple[bytes, str]] = {
    "deep_array_undeclared": (line(properties=',"x":' + nested("[", "]", 400_000)), "record_unreadable"),
    "deep_object_undeclared": (line(properties=',"x":' + nested('{"a":', "}", 160_000)), "record_unreadable"),
    "one_level_too_deep": (line(properties=',"x":' + nested("[", "]", 63)), "record_unreadable"),
    "deep_array_as_record": (nested("[", "]", DEEP).encode(), "record_unreadable"),
    "deep_object_as_record": (nested('{"a":', "}", DEEP).encode(), "field_unknown"),
    "deep_and_never_closed": (b"[" * DEEP, "record_unreadable"),
    "deep_object_never_closed": (b'{"a":' * DEEP, "record_unreadable"),
    "deep_property": (line().replace(b'"ch_1"', nested("[", "]", DEEP).encode()), "property_invalid"),
    "deep_amount": (line(value=nested("[", "]", DEEP)), "amount_value_invalid"),
    "deep_unknown_field": (line(record=',"z":' + nested('{"a":', "}", DEEP)), "field_unknown"),
    "key_repeated": (line(record=',"id":"other"'), "field_repeated"),
    "key_repeated_in_properties": (line(properties=',"charge":"ch_2"'), "field_repeated"),
    "key_repeated_undeclared": (line(properties=',"x":1,"x":2'), "field_repeated"),
    "key_repeated_in_amounts": (
        line().replace(b'"amounts":{', b'"amounts":{"gross":{"value":9},'),
        "field_repeated",
    ),
    "key_repeated_in_amount": (line(amount=',"value":11'), "field_repeated"),
    "key_repeated_by_escape": (line(record=',"\\u0069d":"other"'), "field_repeated"),
    "amount_nan": (line(value="NaN"), "amount_value_invalid"),
    "amount_infinity": (line(value="Infinity"), "amount_value_invalid"),
    "amount_minus_infinity": (line(value="-Infinity"), "amount_value_invalid"),
    "amount_1e999": (line(value="1e999"), "amount_value_invalid"),
    "amount_2_63": (line(value=str(2**63)), "amount_value_invalid"),
    "amount_below_minus_2_63": (line(value=str(-(2**63) - 1)), "amount_value_invalid"),
    "amount_2_64": (line(value=str(2**64)), "amount_value_invalid"),
    "amount_of_5000_digits": (line(value="9" * 5_000), "amount_value_invalid"),
    "amount_1.0": (line(value="1.0"), "amount_value_invalid"),
    "amount_1e3": (line(value="1e3"), "amount_value_invalid"),
    "amount_text_with_space": (line(value='" 5"'), "amount_value_invalid"),
    "amount_arabic_digits": (line(value='"٣"'), "amount_value_invalid"),
    "amount_leading_zero": (line(value="05"), "record_unreadable"),
    "amount_hexadecimal": (line(value="0x10"), "record_unreadable"),
    "nan_as_property": (line().replace(b'"ch_1"', b"NaN"), "property_invalid"),
    "minus_inf_as_property": (line().replace(b'"ch_1"', b"-inf"), "property_invalid"),
    "nan_as_id": (line().replace(b'"bad"', b"nan"), "field_invalid"),
    "nan_undeclared": (line(properties=',"x":NaN'), "record_unreadable"),
    "infinity_deep_in_undeclared": (line(properties=',"x":{"y":[1, -Infinity]}'), "record_unreadable"),
    "lone_surrogate": (line(properties=',"x":"\\ud800"'), "record_unreadable"),
    "lone_surrogate_as_key": (line(properties=',"\\udc00":1'), "record_unreadable"),
    "surrogate_as_utf_8": (line(properties=',"x":"\ud800"'), "record_unreadable"),
    "overlong_utf_8": (line().replace(b"ch_1", b"\xc0\xaf"), "record_unreadable"),
    "not_utf_8": (line().replace(b"ch_1", b"\xff\xfe"), "record_unreadable"),
    "utf_16": (line().decode().encode("utf-16-le").replace(b"\n", b""), "record_unreadable"),
    "nul_raw": (line().replace(b"ch_1", b"ch\x001"), "record_unreadable"),
    "nul_escaped": (line().replace(b"ch_1", b"ch\\u00001"), "property_invalid"),
    "nul_before": (b"\0" + line(), "record_unreadable"),
    "nul_after": (line() + b"\0", "record_unreadable"),
    "only_nul": (b"\0" * 1_000, "record_unreadable"),
    "byte_order_mark": (b"\xef\xbb\xbf" + line(), "record_unreadable"),
    "separator_of_keys": (line().replace(b"ch_1", b"ch\\u001f1"), "property_invalid"),
    "single_quotes": (line().replace(b'"', b"'"), "record_unreadable"),
    "unquoted_umlauts": (line().replace(b'"bad"', b'"bad"' + "ü".encode() * 60), "record_unreadable"),
    "unquoted_umlauts_moved": (line().replace(b'"bad"', b'"bad!"' + "ü".encode() * 60), "record_unreadable"),
    "comment": (line() + b" // x", "record_unreadable"),
    "two_records": (line() + line(), "record_unreadable"),
    "year_99999": (line().replace(b"2026", b"99999"), "effective_at_invalid"),
    "second_60": (line().replace(b"03:04:05", b"23:59:60"), "effective_at_invalid"),
    "offset_99": (line().replace(b"05Z", b"05+99:99"), "effective_at_invalid"),
    "ten_megabytes": (line(properties=f',"x":"{"x" * 10_000_000}"'), "record_too_large"),
    "ten_megabytes_of_nothing": (b"x" * 10_000_000, "record_too_large"),
    "html": (b"<html><body>502 Bad Gateway</body></html>", "record_unreadable"),
}
ACCEPTED: dict[str, bytes] = {
    "minus_zero": line(value="-0"),
    "largest_amount": line(value=str(2**63 - 1)),
    "as_deep_as_may_be": line(properties=',"x":' + nested("[", "]", 62)),
    "brackets_in_a_text": line(properties=f',"x":"{"[" * 1_000}"'),
    "text_that_says_nan": line(properties=',"x":"a, NaN: [nan"').replace(b"ch_1", b"NaN"),
    "nul_undeclared": line(properties=',"x":"a\\u0000b","a\\u0000b":1'),
    "odd_keys": line(properties=',"":1,"a/b~c":2,"$.x[*]":3,"*":4'),
    "digits_without_end": line(properties=f',"x":{"9" * 4_000}'),
    "line_separator": line(properties=',"x":"\u2028\u202e"'),
    "white_space_before": b" \t" + line(),
    "undeclared_key_repeated_deep_inside": line(properties=',"x":{"a":1,"a":2}'),
}


@pytest.mark.fault("A line of NDJSON that is no event: too deep, no JSON, no number, no UTF-8, too long")
@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_line_goes_to_quarantine_alone(
    ledger: Ledger, command: Command, creations: Creations, case: str
) -> None:
    """It waits in quarantine, byte for byte, under a code; the lines beside it are accepted; commands answer."""
    record, code = REFUSED[case]
    first, last = creations(1, 2)
    path = ledger.write(b"\n".join([json.dumps(first).encode(), record, json.dumps(last).encode()]), "in.ndjson")
    ran = command(ledger, "ingest", str(path), "--json")
    assert ran.code == 1
    receipt = json.loads(ran.out)
    assert (receipt["accepted"], receipt["duplicates"], receipt["quarantined"]) == (2, 0, 1)
    ((found, _, kept),) = waiting(ledger)
    assert (found, kept == record) == (code, True)
    for arguments in (["list"], ["list", "--json"], ["list", "--format", "csv"], ["show", "1"], ["export"], ["retry"]):
        assert command(ledger, "quarantine", *arguments).code == (1 if arguments == ["retry"] else 0)
    prove(ledger, ["evt_1", "evt_2"])


@pytest.mark.fault("A line of NDJSON that is odd, but an event")
@pytest.mark.parametrize("case", ACCEPTED)
def test_an_odd_line_is_an_event(ledger: Ledger, command: Command, case: str) -> None:
    """It is accepted, a duplicate when it comes again, a conflict when it says something else; questions answer."""
    assert ledger.ingest(ACCEPTED[case]).accepted == 1
    assert ledger.ingest(ACCEPTED[case]).duplicates == 1
    assert ledger.ingest(ACCEPTED[case].replace(b"visa", b"amex")).quarantined == 1
    charge = "charge=NaN" if case == "text_that_says_nan" else "charge=ch_1"
    for arguments in (["trace", charge], ["trace", charge, "--json"], ["query", "FROM events", "--json"], ["status"]):
        ran = command(ledger, *arguments)
        assert ran.code == 0, ran.err
        if "--json" in arguments:
            json.loads(ran.out)
    prove(ledger, ["bad"])


@pytest.mark.fault("All hostile lines in one file, again and again")
def test_hostile_lines_together(ledger: Ledger, creations: Creations) -> None:
    """Each line counts once, every good line comes in, and a second delivery makes nothing double."""
    records = [record for record, _ in REFUSED.values()]
    mixed = [item for pair in zip(creations(1, len(records)), records, strict=True) for item in pair]
    receipt = ledger.ingest(*mixed)
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (len(records), 0, len(records))
    again = ledger.ingest(*mixed)
    assert (again.accepted, again.duplicates, again.quarantined) == (0, len(records), len(records))
    assert [record for _, _, record in waiting(ledger)] == records
    prove(ledger, [f"evt_{number}" for number in range(1, len(records) + 1)])


@pytest.mark.fault("A file that is empty, blank, or ends within a line")
@pytest.mark.parametrize(
    ("content", "accepted", "refused"),
    [
        (b"", 0, 0),
        (b"\n", 0, 0),
        (b"\n" * 1_000_000, 0, 0),
        (b"\r\n" * 1_000, 0, 0),
        (b" ", 0, 0),
        (b"\xef\xbb\xbf", 0, 1),
        (line(), 1, 0),
        (line() + b"\r\n" + line()[:-1], 1, 1),
        (line() + b"\r", 1, 0),
    ],
)
def test_an_empty_or_cut_off_file(ledger: Ledger, content: bytes, accepted: int, refused: int) -> None:
    """What is whole is taken in, what is cut off waits in quarantine, and nothing is nothing."""
    receipt = ledger.ingest_file(ledger.write(content, "in.ndjson"))
    assert (receipt.accepted, receipt.quarantined) == (accepted, refused)
    prove(ledger, ["bad"] * accepted)


@pytest.mark.fault("Many records wait in quarantine, large ones among them")
def test_a_large_quarantine_is_retried_in_pages(new_ledger: NewLedger, creations: Creations) -> None:
    """A retry of all takes them page by page, releases those that are events now, and keeps the others whole."""
    ledger = new_ledger(record_bytes=1_000)
    large = [json.dumps({**item, "properties": {**item["properties"], "x": "x" * 1_000}}) for item in creations(1, 40)]
    bad = [b'{"n":%d,"x":"%s"}' % (number, b"y" * 900) for number in range(2_500)]
    assert ledger.ingest(*[item.encode() for item in large], *bad).quarantined == 2_540
    ledger.write_settings(record_bytes=2_000)
    with ledger.open() as workspace:
        from clearwell.application import quarantining

        retried = quarantining.retry(workspace)
    assert (retried.receipt.accepted, len(retried.released), retried.receipt.quarantined) == (40, 40, 2_500)
    assert len(waiting(ledger)) == 2_500
    prove(ledger, [f"evt_{number}" for number in range(1, 41)])
