"""Guards the tail: no module, function or parameter list grows past what a person reads at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "clearwell"
MODULES = sorted(SOURCE.rglob("*.py"))
NOT_COMMANDS = [path for path in MODULES if path.parent.name != "cli"]

LONGEST_MODULE = 600
LONGEST_FUNCTION = 60
MOST_POSITIONAL = 5
FORBIDDEN_NAMES = {"core", "common", "utils", "util", "helpers", "helper", "misc", "manager"}

EXCEPTIONS: dict[str, int] = {}
"""Functions allowed to be longer, as `module.py:function`, with their length: may only shrink."""


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _length_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    last_line = function.end_lineno or function.lineno
    docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    skipped = (first.end_lineno or first.lineno) - first.lineno + 1 if docstring else 0
    return last_line - function.lineno + 1 - skipped


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_is_one_idea(path: Path) -> None:
    """A module has at most 600 lines, and opens with a docstring of one to five lines' worth."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_functions_fit_on_a_screen(path: Path) -> None:
    """A function has at most 60 lines without its docstring."""
    for function in _functions(path):
        allowed = EXCEPTIONS.get(f"{path.name}:{function.name}", LONGEST_FUNCTION)
        assert _length_without_docstring(function) <= allowed, f"{function.name} is too long"


@pytest.mark.parametrize("path", NOT_COMMANDS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_parameter_lists_are_short(path: Path) -> None:
    """At most five positional parameters; a command's parameters are its options, and do not count."""
    for function in _functions(path):
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        own = [name for name in names if name not in {"self", "cls"}]
        assert len(own) <= MOST_POSITIONAL, f"{function.name} takes {len(own)}"


def test_no_name_that_means_nothing() -> None:
    """Folders and modules have names of the product's words."""
    assert not {path.stem for path in SOURCE.rglob("*")} & FORBIDDEN_NAMES


def test_no_empty_folder() -> None:
    """A folder is made when it has content, never before."""
    for folder in (path for path in SOURCE.rglob("*") if path.is_dir() and path.name != "__pycache__"):
        assert any(path.suffix == ".py" and path.name != "__init__.py" for path in folder.iterdir()), folder


def test_a_long_function_is_caught(tmp_path: Path) -> None:
    """The check can fail: a function of 70 lines is longer than allowed."""
    text = "def long() -> None:\n    '''Say.'''\n" + "    x = 1\n" * 70
    path = tmp_path / "long.py"
    path.write_text(text, encoding="utf-8")
    assert max(map(_length_without_docstring, _functions(path))) == 71 > LONGEST_FUNCTION
