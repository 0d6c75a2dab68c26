"""Plants a mistake in the product, by its dotted name, so that a test can show that the mistake is found."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

Plant = Callable[[Any], Any]
"""Gives what stands in the place of something sound."""


def replace_with(monkeypatch: pytest.MonkeyPatch, target: str, plant: Plant) -> None:
    """Put the planted thing where `target`, a dotted name, is looked up."""
    module_name, *names = _parted(target)
    holder: Any = importlib.import_module(module_name)
    for name in names[:-1]:
        holder = getattr(holder, name)
    monkeypatch.setattr(holder, names[-1], plant(getattr(holder, names[-1])))


def in_text(old: str, new: str) -> Plant:
    """In the text that a function gives, one phrase for another."""

    def plant(sound: Any) -> Any:
        def changed(*arguments: Any) -> str:
            text: str = sound(*arguments)
            assert old in text
            return text.replace(old, new)

        return changed

    return plant


def _parted(target: str) -> list[str]:
    """A dotted name as its module and the names inside it."""
    for place in range(target.count("."), 0, -1):
        parts = target.split(".")
        module = ".".join(parts[:place])
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        return [module, *parts[place:]]
    raise AssertionError(f"expected a dotted name of the product, found {target}")
