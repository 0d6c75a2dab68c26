"""Ledgers that several tests begin with: built once, and copied for each test, which may do with it what it likes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import catalogs

if TYPE_CHECKING:
    from conftest import Ledger

Copied = Callable[[Callable[[], "Ledger"]], "Ledger"]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Copied:
    """`copied(build)`: the ledger that `build`, called once by a module, makes; in PostgreSQL it is built each time."""
    built: list[Ledger] = []

    def copy(build: Callable[[], Ledger]) -> Ledger:
        if catalogs.in_postgresql():
            return build()
        if not built:
            built.append(build())
        (original,) = built
        folder = tmp_path_factory.mktemp("copied")
        shutil.copytree(original.folder, folder, dirs_exist_ok=True)
        return replace(original, folder=folder, clock=replace(original.clock), notices=[])

    return copy
