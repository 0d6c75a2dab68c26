"""The real data, wherever it is: a story that needs it is skipped, loudly, where it is absent, and fails in CI."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from stories import EXAMPLES, SHARED, Story

RealData = Callable[[str], Path]


@pytest.fixture(scope="session")
def real_data() -> RealData:
    """Gives the folder of a real data set, or skips the story (in CI: fails it)."""

    def folder(name: str) -> Path:
        found = SHARED / "data" / name
        if not found.is_dir():
            message = f"the real data is absent: expected the folder {found}"
            if os.environ.get("CI"):
                pytest.fail(f"{message}, and in CI it must be there")
            warnings.warn(f"skipped, because {message}", stacklevel=2)
            pytest.skip(message)
        return found

    return folder


@pytest.fixture(scope="session")
def copy_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Story]:
    """Gives a project in a scratch folder, copied from an example."""

    def copy(name: str) -> Story:
        folder = tmp_path_factory.mktemp("story") / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("data"))
        return Story(folder)

    return copy


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that holds the examples only, with the shared folder beside it as beside the real one."""
    root = tmp_path_factory.mktemp("readme")
    (root / "shared").symlink_to(SHARED)
    shutil.copytree(EXAMPLES, root / "checkout" / "examples", ignore=shutil.ignore_patterns("data"))
    return root / "checkout"
