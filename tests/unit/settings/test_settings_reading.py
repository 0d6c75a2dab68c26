"""Settings: read once, every key with a default, and nothing misspelt passed over."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from clearwell.errors import ClearwellError, DataError, UsageError
from clearwell.settings import Settings, read_settings


def read(folder: Path, text: str) -> Settings:
    (folder / "clearwell.yaml").write_text(text, encoding="utf-8")
    return read_settings(folder)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_every_key_has_a_default(tmp_path: Path, text: str) -> None:
    """An empty file is a project with all defaults."""
    assert read(tmp_path, text) == Settings()


def test_what_is_set_is_read(tmp_path: Path) -> None:
    """Values come back in their types, and cannot be changed afterwards."""
    settings = read(tmp_path, "time_zone: Europe/Amsterdam\ncurrencies: {USDC: 6}\nfuture_limit_days: 0\ndata: books\n")
    assert (settings.time_zone, settings.currencies, settings.data) == ("Europe/Amsterdam", {"USDC": 6}, Path("books"))
    assert settings.future_limit == timedelta(0)
    with pytest.raises(ValidationError):
        settings.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("timezone: UTC", "settings_invalid", "timezone"),
        ("time_zone: Mars/Base", "settings_invalid", "time_zone"),
        ("batch_events: 0", "settings_invalid", "batch_events"),
        ("expectations: {quantile: 1}", "settings_invalid", "expectations.quantile"),
        ("expectations: {quantile: 0.49}", "settings_invalid", "expectations.quantile"),
        ("expectations: {headroom: 0.9}", "settings_invalid", "expectations.headroom"),
        ("expectations: {headrom: 2}", "settings_invalid", "expectations.headrom"),
        ("record_bytes: lots", "settings_invalid", "record_bytes"),
        ("future_limit_days: -1", "settings_invalid", "future_limit_days"),
        ("- a list", "settings_invalid", ""),
        ("name: [", "settings_unreadable", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, code: str, named: str) -> None:
    """Unknown keys and bad values are errors with a code, which name the key."""
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert caught.value.code == code
    assert any(named in detail for detail in caught.value.details) or not named


def test_bytes_that_are_no_text_are_unreadable(tmp_path: Path) -> None:
    """A file that is not UTF-8 is an error of ours with a code, like any other bad file."""
    (tmp_path / "clearwell.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ClearwellError) as caught:
        read_settings(tmp_path)
    assert caught.value.code == "settings_unreadable"


def test_a_folder_without_settings_is_no_project(tmp_path: Path) -> None:
    """The message says what was expected, and how to start one."""
    with pytest.raises(UsageError, match="clearwell init") as caught:
        read_settings(tmp_path)
    assert caught.value.code == "project_not_found"


def test_what_is_learned_is_set_in_exact_decimals(tmp_path: Path) -> None:
    """A quantile and a headroom are the decimals that are written, not the binary fractions next to them."""
    learned = read(tmp_path, "expectations: {quantile: 0.95, headroom: 1.1, subdivide: {charge: shop}}").expectations
    assert (learned.quantile, learned.headroom, learned.minimum_episodes) == (Decimal("0.95"), Decimal("1.1"), 200)
    assert learned.subdivide == {"charge": "shop"}
