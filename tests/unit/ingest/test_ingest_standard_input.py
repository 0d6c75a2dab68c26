"""Standard input is handed on as it arrives: never held for long, never cut apart while it comes at once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from clearwell.ingest import inputs


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


@pytest.mark.parametrize(("wait_seconds", "expected"), [(3600.0, b"abcdef"), (0.0, b"a")])
def test_a_steady_trickle_is_not_held(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, wait_seconds: float, expected: bytes
) -> None:
    """Pieces that come without a pause are gathered for a while, and no longer."""
    reader, writer = pipe
    read = os.read
    monkeypatch.setattr(inputs.os, "read", lambda descriptor, _size: read(descriptor, 1))
    monkeypatch.setattr(inputs, "_WAIT_SECONDS", wait_seconds)
    os.write(writer, b"abcdef")
    os.close(writer)
    assert inputs._Arriving(reader).read(100) == expected
