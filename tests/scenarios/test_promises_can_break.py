"""The checks of the READMEs can fail: a wrong figure, lines out of order and a failing command are all noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from stories import broken_promises, follow

README = """# A tour

```sh
printf 'orders  open\\n first   28\\n'
```

```text
orders open
first  {figure}
```

```sh
{command}
```
"""


def tour(folder: Path, figure: str = "28", command: str = "true") -> Path:
    path = folder / "README.md"
    path.write_text(README.format(figure=figure, command=command), encoding="utf-8")
    return path


def test_a_kept_promise(tmp_path: Path) -> None:
    """Lines that were printed word by word are kept promises, however wide the gaps are."""
    blocks = follow(tour(tmp_path), tmp_path)
    assert [len(block.promised) for block in blocks] == [2, 0]
    assert broken_promises(blocks) == []


def test_a_wrong_figure(tmp_path: Path) -> None:
    """A figure that was not printed is named."""
    assert broken_promises(follow(tour(tmp_path, figure="29"), tmp_path)) == ["first 29"]


def test_lines_out_of_order(tmp_path: Path) -> None:
    """A line that was printed before, and not again, is a broken promise."""
    assert broken_promises(follow(tour(tmp_path, figure="28\norders open"), tmp_path)) == ["orders open"]


def test_a_failing_command(tmp_path: Path) -> None:
    """A command that ends with another exit code than 0 fails the test and is named."""
    with pytest.raises(AssertionError, match="exit 3"):
        follow(tour(tmp_path, command="(exit 3)"), tmp_path)
