"""The documents are true: links resolve, commands run and print what is shown, lists are those of the code.

In README.md and docs/guides a fenced block is run as a reader would run it, document by document, in a scratch folder:

- ` ```LANGUAGE file=NAME `: the block is written to the file NAME of the scratch folder;
- ` ```sh `: each line is a command; it ends with exit code 0, or with the one in a trailing `# exit 1`;
- ` ```python `: run as a script;
- ` ```text ` right after one of the two: each line was printed by it. System times, hashes and signatures may differ,
  as may the width of columns; a line with `…` alone stands for lines left out.

Blocks that begin with `make` or `git` are left out. `UPDATE_DOCS=1` rewrites what is generated.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import clearwell
from clearwell.application.access import ACTS, SCOPES
from clearwell.cli.main import main
from clearwell.ledger.rejections import STATEMENTS, RejectionCode
from clearwell.settings import CATALOG_URL, Settings
from clearwell.simulation.incidents import FAULT_KINDS, INCIDENT_KINDS
from clearwell.simulation.truth import FAULT_SCHEMA

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OUTSIDE = {".venv", "build", "dist", "data", ".git", ".pytest_cache", ".hypothesis", "node_modules"}
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not OUTSIDE & set(path.relative_to(ROOT).parts[:-1]) and path.is_file()
)
RUNNABLE = [ROOT / "README.md", *sorted((DOCS / "guides").glob("*.md"))]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_EXIT = re.compile(r"\s+# exit (\d+)$")
PASSED_ON = {"model_changed", "log_shorter_than_projections"}
"""Faults of verify that are errors of the workspace, under the code that they have there."""

_SHELL = {"|", "||", ">", ">>", "<", "&", "&&", ";", ";;", "(", ")"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- links ------------------------------------------------------------------------------------------------------------


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", _FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number, unique = 0, slug
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found


def _dead_links(path: Path) -> Iterator[str]:
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", text)):
        target, _, anchor = match["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists():
            yield f"{match['target']}: no such file"
        elif anchor and anchor not in _anchors(file.read_text(encoding="utf-8")):
            yield f"{match['target']}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    """Each relative link of a document names a file that exists, and a heading in it."""
    assert list(_dead_links(path)) == []


def test_a_dead_link_is_caught(tmp_path: Path) -> None:
    """The check can fail: a missing file and a missing heading are both reported."""
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](gone.md) [b](#two) [c](#one)\n", encoding="utf-8")
    assert list(_dead_links(page)) == ["gone.md: no such file", "#two: no such heading"]


# --- commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the rest of its first line, its text, and the line it stands on."""

    language: str
    note: str
    body: str
    line: int


def _blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, _, note = match["info"].partition(" ")
        found.append(Block(language, note.strip(), match["body"], text.count("\n", 0, match.start()) + 1))
    return found


class _Reader:
    """Someone who follows a document to the letter."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capture = capture
        self.printed = ""

    def follow(self, block: Block) -> bool:
        """Do what the block says; returns whether a command was run."""
        if block.note.startswith("file="):
            path = self._folder / block.note.removeprefix("file=")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.language == "sh" and not block.body.startswith(("make", "git")):
            self.printed = "".join(self._run(line) for line in block.body.splitlines() if line.strip())
        elif block.language == "python":
            done = subprocess.run([sys.executable, "-c", block.body], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            self.printed = done.stdout
        else:
            return False
        return not block.note.startswith("file=")

    def _run(self, line: str) -> str:
        match = _EXIT.search(line)
        command, expected = _EXIT.sub("", line), int(match[1]) if match else 0
        tokens = list(shlex.shlex(command, posix=True, punctuation_chars=True))
        words = shlex.split(command, comments=True)
        if words[0] == "cd":
            os.chdir(words[1])
            return ""
        if words[0] == "clearwell" and not _SHELL & set(tokens):
            code = main(words[1:])
            shown = "".join(self._capture.readouterr())
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", command], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
            )
            code, shown = done.returncode, done.stdout + done.stderr
        assert code == expected, f"`{line}` ended with {code}:\n{shown}"
        return shown


def _comparable(line: str) -> str:
    """A line without what differs from run to run: system times, hashes, signatures, the width of columns."""
    line = re.sub(r"as known at \S+Z", "as known at TIME", line)
    line = re.sub(r'("(?:recorded_at|first_seen_at|last_seen_at)": )"[^"]*"', r"\1TIME", line)
    line = re.sub(r"last at \S+Z", "last at TIME", line)
    line = re.sub(r"\b[0-9a-f]{12,64}\b", "HASH", line)
    line = re.sub(r"[A-Za-z0-9+/]{40,}=*", "BASE64", line)
    return re.sub(r"─+", "─", " ".join(line.split()))


def _not_printed(shown: str, printed: str) -> list[str]:
    lines = {_comparable(line) for line in printed.splitlines()}
    return [line for line in shown.splitlines() if _comparable(line) not in {*lines, "", "…"}]


@pytest.mark.parametrize("path", RUNNABLE, ids=_name)
def test_commands_do_what_the_document_says(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Followed from the first line to the last, a document's commands end and print as it says."""
    monkeypatch.chdir(tmp_path)
    reader, ran = _Reader(tmp_path, capfd), False
    for block in _blocks(path):
        if block.language == "text" and ran:
            assert _not_printed(block.body, reader.printed) == [], f"line {block.line}:\n{reader.printed}"
        ran = reader.follow(block)


def test_an_output_that_is_not_printed_is_caught() -> None:
    """The check can fail: a figure that differs is reported, another system time or width is not."""
    printed = " a    25.00 \nBooks up to 2026-01-02T04:00:00Z, as known at 2026-05-06T07:08:09.12Z (sequence 3).\n"
    assert _not_printed("a 25.00\n…\n", printed) == []
    assert _not_printed("a 25.01\n", printed) == ["a 25.01"]
    later = "Books up to 2026-01-02T04:00:00Z, as known at 2027-05-06T07:08:09.345Z (sequence 3)."
    assert _not_printed(later, printed) == []
    other = later.replace("T04:00:00Z", "T05:00:00Z")
    assert _not_printed(other, printed) == [other]


# --- lists ------------------------------------------------------------------------------------------------------------


def rejections_page() -> str:
    """The text of docs/rejections.md."""
    rows = [f"| {place} | `{code}` | {STATEMENTS[code]} |" for place, code in enumerate(RejectionCode, start=1)]
    return "\n".join(
        [
            "# Rejection codes",
            "",
            "A record that cannot become an event goes to [quarantine](guides/ingest.md#quarantine) with one of these"
            " codes. A record with",
            "several faults gets the first that applies, in this order. The list is closed, and made from"
            " `clearwell.ledger.rejections`.",
            "",
            "| | code | what it states |",
            "| ---: | --- | --- |",
            *rows,
            "",
        ]
    )


def test_the_rejection_codes_are_the_code_s() -> None:
    """docs/rejections.md is what `clearwell.ledger.rejections` gives; UPDATE_DOCS=1 rewrites it."""
    page = DOCS / "rejections.md"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(rejections_page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == rejections_page()


def test_the_roles_are_the_code_s() -> None:
    """The table of docs/guides/access.md is what `clearwell.application.access` gives; UPDATE_DOCS=1 rewrites it."""
    page = DOCS / "guides" / "access.md"
    rows = [
        f"| `{role}` | {'; '.join(act for scope, act in ACTS.items() if scope in SCOPES[role])} |" for role in SCOPES
    ]
    table = re.compile(r"(?<=\| role \| may \|\n\| --- \| --- \|\n)(?:\|.*\n)+")
    text = page.read_text(encoding="utf-8")
    expected = table.sub(lambda _found: "\n".join([*rows, ""]), text)
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(expected, encoding="utf-8")
    assert table.search(text)
    assert page.read_text(encoding="utf-8") == expected


def test_every_act_of_the_audit_is_explained() -> None:
    """docs/guides/access.md names each act that the code notes, and no other."""
    notes = re.compile(r'\bnot(?:e|e_after|ing)\([^"]*"([a-z]+\.[a-z]+)"')
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    noted = {act for text in sources for act in notes.findall(text)}
    table = (DOCS / "guides" / "access.md").read_text(encoding="utf-8").split("| act | what was done |", 1)[1]
    assert set(re.findall(r"`([a-z]+\.[a-z]+)`", table)) == noted


def test_every_module_of_the_architecture_exists() -> None:
    """Each `clearwell.…` that docs/architecture.md names is a module or a package."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    names = sorted(set(re.findall(r"`(clearwell(?:\.[a-z_]+)+)`", text)))
    assert names
    source = ROOT / "src"
    missing = [
        name
        for name in names
        if not (source / name.replace(".", "/")).with_suffix(".py").is_file()
        and not (source / name.replace(".", "/") / "__init__.py").is_file()
    ]
    assert missing == []


def test_every_setting_is_explained() -> None:
    """docs/guides/ingest.md has a row for each key of clearwell.yaml, and for no other; and it names the variables."""
    text = (DOCS / "guides" / "ingest.md").read_text(encoding="utf-8").split("## Settings", 1)[1]
    assert {f"`{CATALOG_URL}`", "`CLEARWELL_PROJECT`"} <= set(text.split())
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)) == set(Settings.model_fields)


def test_every_kind_of_fault_is_explained() -> None:
    """docs/guides/simulation.md has a row for each kind of fault, incident and field of the truth, and for no other."""
    text = (DOCS / "guides" / "simulation.md").read_text(encoding="utf-8")
    rates, incidents, truth = (
        section.split("\n## ", 1)[0] for section in re.split(r"\n## (?:Faults by rate|Incidents|The truth)\n", text)[1:]
    )
    listed = [re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) for section in (rates, incidents)]
    assert listed == [list(FAULT_KINDS), [kind for kind in INCIDENT_KINDS if kind not in FAULT_KINDS]]
    cells = re.findall(r"^\| (`[^|]*`) \|", truth, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)} == set(FAULT_SCHEMA)


def test_every_column_of_the_views_is_explained(tmp_path: Path) -> None:
    """docs/guides/questions.md lists, for each view of `query`, the columns that it has, in their order."""
    assert main(["init", str(tmp_path)]) == 0
    text = (DOCS / "guides" / "questions.md").read_text(encoding="utf-8")
    with clearwell.open_project(tmp_path) as project:
        project.ingest(tmp_path / "events" / "first.ndjson")
        for view in ("events", "entries", "open_accounts", "episodes", "balances", "segments"):
            section = text.split(f"### `{view}`", 1)[1].split("\n#", 1)[0]
            listed = re.findall(r"^\| `([a-z0-9_A-Z]+)` \|", section, re.MULTILINE)
            found = [row["column_name"] for row in project.query(f"SELECT column_name FROM (DESCRIBE {view})")]
            fixed = [name for name in found if not name.startswith(("property_", "amount_", "currency_"))]
            assert [name for name in listed if not name.endswith("_NAME")] == fixed


def test_every_fault_of_verify_is_explained() -> None:
    """docs/guides/questions.md lists the fault codes that the code can give, and no other."""
    section = (DOCS / "guides" / "questions.md").read_text(encoding="utf-8").split("## `verify`", 1)[1]
    cells = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    listed = {code for cell in cells for code in re.findall(r"`([a-z_]+)`", cell)}
    source = ROOT / "src" / "clearwell"
    homes = ("application/verifying.py", "application/verifying_seals.py", "log/manifest.py", "log/seals.py")
    text = "".join((source / name).read_text(encoding="utf-8") for name in homes)
    given = re.findall(
        r'(?:Fault\(|Fault\((?:segment|seal)\.number, |^ +\()"([a-z]+(?:_[a-z]+)+)",', text, re.MULTILINE
    )
    assert listed == {*given, *PASSED_ON}
