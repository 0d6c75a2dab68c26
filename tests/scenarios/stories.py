"""What the stories share: the command line as a person uses it, and a README taken at its word."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearwell.cli.main import main

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
SHARED = REPOSITORY.parent / "shared"
"""Beside the checkout, where the examples look for the data."""

_BLOCK = re.compile(r"^```sh\n(?P<command>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Said:
    """What one command answered."""

    exit_code: int
    out: str
    error: str


@dataclass(frozen=True)
class Story:
    """A project that a story is told about, through the command line only."""

    folder: Path

    def say(self, command: str, *arguments: str) -> Said:
        """Run one command in the project."""
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            exit_code = main([command, "--project", str(self.folder), *arguments])
        return Said(exit_code, out.getvalue(), error.getvalue())

    def ask(self, command: str, *arguments: str) -> Any:
        """Run one command that has to succeed; returns its JSON."""
        said = self.say(command, *arguments, "--json")
        assert said.exit_code == 0, said.error
        return json.loads(said.out)

    def rows(self, sql: str, *arguments: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row.values()) for row in self.ask("query", sql, *arguments)]

    def clearing(self, at: str) -> dict[str, tuple[int, int, int]]:
        """Per clearing account type at a cut: open accounts, overdue accounts, open money in minor units."""
        return {
            row["account_type"]: (row["open_count"], row["overdue_count"], row["open_money"])
            for row in self.ask("status", "--at", at)["account_types"]
            if row["kind"] == "clearing"
        }


@dataclass(frozen=True)
class Block:
    """A command block of a README, what the README says it prints, and what it printed."""

    command: str
    promised: list[str]
    printed: list[str]


def follow(readme: Path, checkout: Path) -> list[Block]:
    """Run every `sh` block of a README in one shell that stops at the first failure, from the root of `checkout`.

    Lines are compared word by word, because a table's width depends on rows that the README leaves out.
    """
    found = list(_BLOCK.finditer(readme.read_text(encoding="utf-8")))
    mark = "=== next block ==="
    script = f"\necho '{mark}'\n".join(match["command"] for match in found)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    shell = ["bash", "-e", "-o", "pipefail", "-c", script]
    done = subprocess.run(shell, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    outputs = done.stdout.split(mark + "\n")
    assert done.returncode == 0, f"{found[len(outputs) - 1]['command']}\n{done.stderr}"
    return [
        Block(match["command"], _lines(match["printed"] or ""), _lines(output))
        for match, output in zip(found, outputs, strict=True)
    ]


def broken_promises(blocks: list[Block]) -> list[str]:
    """Lines that the README shows and the command did not print, or not in this order."""
    broken: list[str] = []
    for block in blocks:
        rest = iter(block.printed)
        broken += [line for line in block.promised if line not in rest]
    return broken


def _lines(text: str) -> list[str]:
    words = (" ".join(line.split()) for line in text.splitlines())
    return [re.sub("─+", "─", line) for line in words if line]
