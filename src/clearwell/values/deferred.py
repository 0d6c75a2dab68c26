"""Libraries that are imported when something of them is first used: most commands need few of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Deferred:
    """Stands for a module. To type checkers it is the module itself: they are shown the import."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """What the module has of this name."""
        return getattr(import_module(self._name), name)
