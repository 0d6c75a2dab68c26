"""The guide on backups names every error that backing up and restoring can end with."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = (
    "application/backing_up.py",
    "application/backups.py",
    "application/restoring.py",
    "catalog/copying.py",
    "log/copying.py",
)
INNER = {"database_unreadable"}
"""What is not seen by users: a copy that was just made is read, or the error is caught."""


def test_every_error_is_explained() -> None:
    """Each code that these modules raise is in docs/guides/backup.md."""
    text = "".join((ROOT / "src" / "clearwell" / name).read_text(encoding="utf-8") for name in MODULES)
    raised = set(re.findall(r'(?:Usage|Data|Storage)Error\(\s*"([a-z_]+)"', text))
    assert len(raised) > 10
    guide = (ROOT / "docs" / "guides" / "backup.md").read_text(encoding="utf-8")
    assert raised - INNER - set(re.findall(r"`([a-z_]+)`", guide)) == set()
