"""Every exception a caller can meet: one root, few branches, stable codes.

Bad data is never an exception here; it is a rejection or a finding, returned and stored.
"""

from __future__ import annotations

from collections.abc import Sequence


class ClearwellError(Exception):
    """The root. `code` is stable and machine-readable; `details` holds one line per particular."""

    def __init__(self, code: str, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)


class UsageError(ClearwellError):
    """The caller asked for something that does not exist or cannot be meant (exit code 2)."""


class DataError(ClearwellError):
    """The model, the settings or the data have problems that must be mended first (exit code 1)."""


class StorageError(ClearwellError):
    """Files or the catalog cannot be read or written as they must be (exit code 3)."""


class AccessError(ClearwellError):
    """The caller may not do this, or has not shown who they are (exit code 2)."""


class OverloadError(ClearwellError):
    """More is asked for at once than can be taken in; the same may be asked again in a moment (exit code 3)."""

    retry_seconds: int = 1
    """After so many seconds it may."""
