"""Inputs are read one batch ahead: in order, no further, and errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clearwell.log.ahead import one_ahead


def threads() -> list[str]:
    """The names of the threads that read ahead."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reading")]


def test_items_come_in_order_and_one_is_made_ahead() -> None:
    """While an item is in use, the next is made, and not the one after it."""
    begun: list[int] = []
    made = [threading.Event() for _ in range(5)]

    def numbers() -> Iterator[int]:
        for number in range(1, 5):
            begun.append(number)
            made[number].set()
            yield number

    for number in one_ahead(numbers()):
        if number < 4:
            assert made[number + 1].wait(60)
        assert begun == list(range(1, min(number + 1, 4) + 1))
    assert not threads()


def test_an_error_comes_after_what_was_before_it() -> None:
    """What was read before the error is handed on first."""

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = one_ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)
    assert not threads()


def test_who_stops_early_leaves_no_thread() -> None:
    """Closing the iterator ends its thread, though there was more to read."""
    items = one_ahead(iter(range(1, 100)))
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert not threads()
