"""What tests of faults share: commands as a person gives them, and the record of what was done."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import reliability_page
from aftermath import Command, Ran, Tally

from clearwell.cli.main import main

if TYPE_CHECKING:
    from conftest import Ledger

_COUNTS = pytest.StashKey[dict[str, list[int]]]()


# --- the record -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Count rounds: `tally.rounds += 1`."""
    counted = Tally()
    yield counted
    name = getattr(request.function, "__name__", "")
    request.node.user_properties.append(("fault", [f"{Path(str(request.path)).stem}::{name}", counted.rounds or 1]))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COUNTS] = {}
    config.pluginmanager.register(_Recorder(config), "fault-recorder")


class _Recorder:
    """Adds up what every test reports, also from the processes of xdist, and writes the page when it is asked to."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed
        if report.when != "teardown" or report.skipped:
            return
        for name, value in report.user_properties:
            if name == "fault":
                counted = self._config.stash[_COUNTS].setdefault(value[0], [0, 0])
                counted[0] += 1
                counted[1] += value[1]

    def pytest_sessionfinish(self) -> None:
        if not os.environ.get("UPDATE_DOCS") or self._failed or hasattr(self._config, "workerinput"):
            return
        counts = {test: (cases, rounds) for test, (cases, rounds) in self._config.stash[_COUNTS].items()}
        wanted = {row.test for row in reliability_page.rows()}
        if wanted <= counts.keys():
            text = reliability_page.page({test: counts[test] for test in wanted})
            reliability_page.PAGE.write_text(text, encoding="utf-8")


# --- commands and proof -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def command() -> Command:
    """Run a command line in this process: `command(ledger, "status")`. No fault may be called our mistake."""

    def run(ledger: Ledger, *arguments: str) -> Ran:
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*arguments, "--project", str(ledger.folder)])
        out.flush()
        ran = Ran(code, out.buffer.getvalue().decode("utf-8", "surrogateescape"), err.getvalue())
        assert "this is its mistake" not in ran.err, f"{arguments}: {ran.err}"
        return ran

    return run


@pytest.fixture(scope="session")
def creations(creation: Callable[..., dict[str, Any]]) -> Callable[..., list[dict[str, Any]]]:
    """`creations(first, count)`: charges of different ids, each with its own account."""

    def make(first: int, count: int) -> list[dict[str, Any]]:
        return [
            creation(id=f"evt_{number}", properties={"charge": f"ch_{number}", "business": "acct_A", "network": "visa"})
            for number in range(first, first + count)
        ]

    return make
