"""A producer is killed between `send` and the flush: a later process sends what is in its spool, each event once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aftermath import Tally

from clearwell.client.blocking import Client
from faulty_service import FaultyService

PROGRAM = """
import sys
from clearwell.client.blocking import Client
from faulty_service import event
from clearwell.client.sending import ClientOptions

client = Client("http://127.0.0.1:9", "cw_key", spool=sys.argv[1])  # Nobody listens there.
number = int(sys.argv[2])
while True:
    client.send([event(number), event(number + 1)])
    print(number + 1, flush=True)
    number += 2
"""


@pytest.mark.fault("kill -9 of a producer that has sent events while the service is away")
def test_what_was_sent_before_a_kill_is_sent_by_the_next_process(tmp_path: Path, tally: Tally) -> None:
    """Every event whose `send` returned is in the log, once, and in order, after three producers were killed."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    sent = -1
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(sent + 1)], stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(25):
            sent = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        tally.rounds += 1
        sent = max([sent, *map(int, rest.split())])
    service = FaultyService()
    with Client("http://service", "cw_key", spool=tmp_path, transport=service.transport) as client:
        client.flush()
    names = list(service.log)
    # The last ones of each life may be there although `send` did not return; they are the same events again.
    assert names[: sent + 1] == [f"evt_{number}" for number in range(sent + 1)]
    assert set(service.log.values()) == {1}
    assert len(names) <= sent + 3
