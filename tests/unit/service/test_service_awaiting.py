"""What threads finish is awaited: nothing is missed, and what is finished at once wakes the loop once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from clearwell.service.awaiting import awaited


def finish_in_thread(finish: Callable[[], None]) -> None:
    thread = threading.Thread(target=finish)
    thread.start()
    thread.join()


def test_results_and_errors_come_through() -> None:
    """Each who waits gets what was set for it, also where it was set before anybody waited."""

    async def ask() -> None:
        futures: list[Future[int]] = [Future() for _ in range(4)]
        futures[0].set_result(0)
        waiting = [asyncio.ensure_future(awaited(future)) for future in futures]
        await asyncio.sleep(0)

        def finish() -> None:
            futures[1].set_result(1)
            futures[2].set_exception(ValueError("two"))
            futures[3].set_result(3)

        finish_in_thread(finish)
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        assert [found[0], found[1], found[3]] == [0, 1, 3]
        with pytest.raises(ValueError, match="two"):
            raise found[2]

    asyncio.run(ask())


def test_many_that_end_together_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of a hundred requests is no hundred wake-ups."""
    woken: list[int] = []

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *given: (woken.append(1), wake(*given))[1])
        futures: list[Future[int]] = [Future() for _ in range(100)]
        waiting = [asyncio.ensure_future(awaited(future)) for future in futures]
        await asyncio.sleep(0)
        finish_in_thread(lambda: [future.set_result(number) for number, future in enumerate(futures)][:0] or None)
        assert await asyncio.gather(*waiting) == list(range(100))

    asyncio.run(ask())
    assert len(woken) == 1


def test_who_goes_keeps_nobody_waiting() -> None:
    """One request that was cancelled takes nothing from the others, and a loop that has ended is no error."""
    left: Future[int] = Future()

    async def ask() -> None:
        futures: list[Future[int]] = [Future(), Future()]
        waiting = [asyncio.ensure_future(awaited(future)) for future in (*futures, left)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
        finish_in_thread(lambda: [future.set_result(7) for future in futures][:0] or None)
        assert await asyncio.wait_for(waiting[1], 10) == 7
        assert waiting[0].cancelled()

    asyncio.run(ask())
    finish_in_thread(lambda: left.set_result(1))


def test_a_stream_of_batches() -> None:
    """Whatever the turns of threads and loop, nobody waits for ever."""

    async def ask() -> int:
        futures: list[Future[int]] = [Future() for _ in range(2_000)]
        setting = threading.Thread(target=lambda: [future.set_result(1) for future in futures])
        waiting = [asyncio.ensure_future(awaited(future)) for future in futures]
        setting.start()
        found = await asyncio.wait_for(asyncio.gather(*waiting), 30)
        setting.join()
        return sum(found)

    assert asyncio.run(ask()) == 2_000
