"""Plays a world as a stream of lines: at once, or each event when it falls due, by a clock that is passed in.

Refuses to read a clock or to sleep by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from clearwell.simulation.delivery import SECOND, microseconds
from clearwell.simulation.files import stream_of, wire_lines
from clearwell.simulation.world import WorldChunk

# Longer than the pause after which `ingest -` takes in what has come, so that each tick becomes durable by itself.
_SHORTEST_SLEEP = 0.3


@dataclass(frozen=True)
class Pace:
    """World seconds per second, from the world's instant `start` on; `clock` and `sleep` are in seconds."""

    start: datetime
    speed: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]


def play(
    chunks: Iterable[WorldChunk], write: Callable[[str], None], pace: Pace | None, *, with_recorded_at: bool = False
) -> int:
    """Hand the events to `write` as lines of NDJSON, many at once; returns how many events there were.

    With a pace an event is handed over when its instant of delivery has come, else at once.
    """
    count, begun = 0, pace.clock() if pace else 0.0
    for chunk in chunks:
        events, due = stream_of(chunk, with_recorded_at=with_recorded_at), chunk.recorded_at.to_physical()
        done = 0
        while done < len(events):
            ready = len(events)
            if pace:
                now = microseconds(pace.start) + int((pace.clock() - begun) * pace.speed * SECOND)
                ready = int(due.search_sorted(now, side="right"))
                if ready <= done:
                    pace.sleep(max((due[done] - now) / pace.speed / SECOND, _SHORTEST_SLEEP))
                    continue
            write("\n".join(wire_lines(events[done:ready])) + "\n")
            count, done = count + ready - done, ready
    return count
