"""A world as a stream: every event when it falls due, by a clock that is passed in."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from clearwell.simulation.options import WorldOptions
from clearwell.simulation.playing import Pace, play
from clearwell.simulation.world import WorldChunk, simulate_with_faults
from clearwell.values.instants import parse_instant

OPTIONS = WorldOptions(events=400, seed=5, span=timedelta(days=2), chunk_events=150)


class Stopwatch:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture(scope="module")
def chunks() -> list[WorldChunk]:
    return list(simulate_with_faults(OPTIONS))


def test_without_a_pace_all_is_written_at_once(chunks: list[WorldChunk]) -> None:
    """Each chunk is one write, and the lines are the events in order."""
    written: list[str] = []
    assert play(chunks, written.append, None) == sum(len(chunk.events) for chunk in chunks)
    assert len(written) == len(chunks)
    ids = [json.loads(line)["id"] for text in written for line in text.splitlines()]
    assert ids == [name for chunk in chunks for name in chunk.events["id"]]


@pytest.mark.parametrize("speed", [1.0, 60.0, 1e6])
def test_no_event_is_early_and_none_is_late(chunks: list[WorldChunk], speed: float) -> None:
    """An event is written once its instant has come in the world's time, and no later than the next tick."""
    watch, seen = Stopwatch(), []

    def write(lines: str) -> None:
        assert lines.endswith("\n")
        elapsed = timedelta(seconds=(watch.now - 1_000.0) * speed)
        for line in lines.splitlines():
            late = OPTIONS.start + elapsed - parse_instant(json.loads(line)["recorded_at"])
            assert timedelta(milliseconds=-1) <= late <= timedelta(seconds=0.31 * speed, milliseconds=1)
            seen.append(line)

    pace = Pace(OPTIONS.start, speed, watch.clock, watch.sleep)
    assert play(chunks, write, pace, with_recorded_at=True) == len(seen)
    assert watch.naps


def test_canary_a_clock_that_stands_still_is_waited_for(chunks: list[WorldChunk]) -> None:
    """Nothing is written before the clock moves."""

    class Stop(Exception):  # noqa: N818
        pass

    def sleep(_: float) -> None:
        raise Stop

    written: list[str] = []
    with pytest.raises(Stop):
        play(chunks, written.append, Pace(OPTIONS.start, 1.0, lambda: 0.0, sleep))
    assert written == []
