"""Flows and settings as YAML that bites: aliases that multiply, depth, size, tags, and values that break readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import Command, prove

if TYPE_CHECKING:
    from conftest import Ledger

_LAUGHS = 'a0: &a0 ["lol", "lol", "lol"]\n' + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
BOMBS = {
    "billion_laughs": _LAUGHS,
    "alias_of_itself": "a: &a [*a]",
    "merge_key": "a: &x {b: 1}\nc:\n  <<: *x",
    "deep_lists": "[" * 5_000,
    "deep_lists_closed": "[" * 5_000 + "]" * 5_000,
    "deep_mappings": "{a: " * 3_000 + "1" + "}" * 3_000,
    "deep_block": "\n".join(" " * n + "a:" for n in range(800)),
    "huge_scalar": "name: " + "x" * 1_100_000,
    "huge_file": "x" * 2_000_000,
    "python_tag": '!!python/object/apply:os.system ["echo hi"]',
    "binary_tag": "name: !!binary xx",
    "nul": "name: a\0b",
    "escape_out_of_range": 'name: "\\UFFFFFFFF"',
    "surrogate": 'name: "\\ud800"',
    "octal_without_end": "future_limit_days: 0o99999999999999999999",
    "number_of_5000_digits": "future_limit_days: " + "9" * 5_000,
    "infinity": "future_limit_days: .inf",
    "nan": "future_limit_days: .nan",
    "day_that_is_none": "name: 2026-13-45",
    "zone_that_is_none": "name: 2001-12-14t21:59:43.10-99:99",
    "tab": "\tname: x",
    "key_repeated": "name: a\nname: b",
    "two_documents": "name: a\n---\nname: b",
    "list": "- a",
    "mapping_as_key": "? {a: 1}\n: 2",
    "directive": "%YAML 9.9\n---\nname: 1",
    "nul_in_a_path": 'data: "a\\0b"',
    "path_too_long": "data: " + "d" * 5_000,
    "currency_of_sql": 'currencies: {"\'; DROP TABLE segments": 2}',
    "currency_of_many_decimals": "currencies: {ABC: 99999999999}",
    "zone_of_a_path": "time_zone: ../../etc/passwd",
    "unknown_key": "nmae: x",
    "not_utf_8": "name: \udcff",
    "data_is_a_file": "data: clearwell.yaml",
    "data_cannot_be_made": "data: /proc/1/none",
}


@pytest.mark.fault("Settings that are no settings: YAML bombs, tags, paths that cannot be")
@pytest.mark.parametrize("case", BOMBS)
def test_hostile_settings(ledger: Ledger, command: Command, creation: Callable[..., Any], case: str) -> None:
    """Every command says what is wrong, with a code; with sound settings the ledger is as it was."""
    ledger.ingest(creation())
    before = (ledger.folder / "clearwell.yaml").read_bytes()
    (ledger.folder / "clearwell.yaml").write_bytes(BOMBS[case].encode("utf-8", "surrogateescape"))
    path = ledger.write(json.dumps(creation(id="evt_2")).encode(), "more.ndjson")
    for arguments in (["check"], ["status"], ["ingest", str(path)]):
        ran = command(ledger, *arguments, "--json")
        if case.startswith("data_") and arguments != ["ingest", str(path)]:
            continue
        if (case, arguments) == ("currency_of_sql", ["status"]) or case == "currency_of_many_decimals":
            continue
        assert (ran.code, ran.error) in {
            (1, "settings_unreadable"),
            (1, "settings_invalid"),
            (1, "currency_code_invalid"),
            (3, "data_folder_unusable"),
        }
    (ledger.folder / "clearwell.yaml").write_bytes(before)
    prove(ledger, ["evt_1"])


@pytest.mark.fault("A flow file that is no flow: YAML bombs, tags, depth, size")
@pytest.mark.parametrize("case", BOMBS)
def test_hostile_flows(ledger: Ledger, command: Command, creation: Callable[..., Any], case: str) -> None:
    """`check` and `ingest` name the file and the line; nothing is taken in, and the model in force stays."""
    ledger.ingest(creation())
    (ledger.folder / "flows" / "bomb.yaml").write_bytes(BOMBS[case].encode("utf-8", "surrogateescape"))
    path = ledger.write(json.dumps(creation(id="evt_2")).encode(), "more.ndjson")
    ran = command(ledger, "check")
    assert ran.code == 1
    assert "bomb.yaml" in ran.out + ran.err
    ran = command(ledger, "ingest", str(path), "--json")
    assert (ran.code, ran.error) in {(1, "model_invalid"), (1, "flow_file_unreadable")}
    (ledger.folder / "flows" / "bomb.yaml").unlink()
    prove(ledger, ["evt_1"])
