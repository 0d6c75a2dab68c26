"""Publishing: requests share commits, each gets its own answer, and nothing is acknowledged that is not durable."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

from clearwell.application import modelling, publishing, quarantining, questions
from clearwell.application.cutting import CutRequest
from clearwell.application.keeping import Keeper, keeping
from clearwell.application.publications import MOST_TOLD, Outcome, Publication, Reading
from clearwell.application.publishing import Limits, Publisher
from clearwell.application.workspace import Workspace
from clearwell.catalog import quarantine, requests
from clearwell.errors import AccessError, DataError, OverloadError, StorageError, UsageError
from clearwell.ingest.door import Door, Taken

if TYPE_CHECKING:
    from conftest import Ledger

Record = Callable[..., dict[str, Any]]
SECONDS = 30.0


def lines(*records: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(item if isinstance(item, bytes) else json.dumps(item).encode() for item in records)


def publication(*records: dict[str, Any] | bytes, **options: Any) -> Publication:
    return Publication(lines(*records), "ndjson", options.pop("source", "key shop"), **options)


@pytest.fixture
def opened(ledger: Ledger) -> Iterator[tuple[Workspace, Keeper]]:
    with ledger.open() as workspace, keeping(workspace) as keeper:
        yield workspace, keeper


@pytest.fixture
def publisher(opened: tuple[Workspace, Keeper]) -> Iterator[Publisher]:
    made = Publisher(opened[0])
    made.start()
    yield made
    made.stop()


def together(publisher: Publisher, publications: Sequence[Publication]) -> list[Outcome]:
    """Publish all of them while nothing is read, so that they are one group."""
    with publisher.paused():
        futures = [publisher.publish(item) for item in publications]
    return [future.result(SECONDS) for future in futures]


def test_requests_in_one_commit(publisher: Publisher, opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """Requests that wait together are one segment, and each is told of its own records by their place in it."""
    found = together(
        publisher,
        [
            publication(creation(id="a"), b"{", creation(id="b"), source="key one"),
            publication(creation(id="c"), b"", creation(id="a"), source="key two"),
            publication(b"[]", creation(id="d"), source="key three"),
        ],
    )
    assert [(item.accepted, item.duplicates, item.refused_count) for item in found] == [(2, 0, 1), (1, 1, 0), (1, 0, 1)]
    assert [(item.first_sequence, item.last_sequence) for item in found] == [(1, 2), (3, 3), (4, 4)]
    assert [[refused.index for refused in item.refused] for item in found] == [[1], [], [0]]
    workspace = opened[0]
    assert [item.event_count for item in workspace.log().segments] == [4]
    with workspace.catalog.read() as connection:
        waiting = quarantine.quarantined(connection)
    assert [(item.reason.source, item.reason.line) for item in waiting] == [("key one", 2), ("key three", 1)]


def test_acknowledged_is_durable(publisher: Publisher, ledger: Ledger, creation: Record) -> None:
    """What was answered is in the log of whoever opens the files, and its figures follow."""
    outcome = publisher.publish(publication(creation())).result(SECONDS)
    with ledger.open() as other:
        assert other.log().last_sequence == outcome.last_sequence


def test_figures_follow(publisher: Publisher, opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """A reader of the process sees what was acknowledged, once the keeper has reached it; another process does, too."""
    workspace, keeper = opened
    outcome = publisher.publish(publication(creation())).result(SECONDS)
    assert outcome.last_sequence is not None
    assert keeper.reached(outcome.last_sequence, SECONDS)
    report = questions.open_accounts(workspace, CutRequest(), questions.OpenFilter())
    assert [row["balance"] for row in report.accounts] == [1000]


def test_another_process_asks(publisher: Publisher, ledger: Ledger, creation: Record) -> None:
    """Questions to the files are answered while the service has them: the keeper lets them go for a moment."""
    publisher.publish(publication(creation())).result(SECONDS)
    asked = [sys.executable, "-m", "clearwell", "open", "--project", str(ledger.folder), "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert [row["balance"] for row in json.loads(done.stdout)] == [1000]
    assert publisher.publish(publication(creation(id="next"))).result(SECONDS).accepted == 1


def test_whole_or_nothing(publisher: Publisher, opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """A publication in whole with one bad record leaves no event and nothing in quarantine; without one it is taken."""
    refused = publisher.publish(publication(creation(), b"{", whole=True)).result(SECONDS)
    assert (refused.accepted, refused.refused_count, refused.refused[0].code) == (0, 1, "record_unreadable")
    workspace = opened[0]
    with workspace.catalog.read() as connection:
        assert quarantine.waiting_counts(connection) == {}
    assert workspace.log().last_sequence == 0
    assert publisher.publish(publication(creation(), whole=True)).result(SECONDS).accepted == 1


def test_a_conflict_refuses_the_whole(publisher: Publisher, creation: Record) -> None:
    """A record that contradicts the log refuses the whole publication, too."""
    publisher.publish(publication(creation())).result(SECONDS)
    other = creation(amounts={"gross": {"value": 1, "currency": "USD"}})
    found = publisher.publish(publication(creation(id="new"), other, whole=True)).result(SECONDS)
    assert (found.accepted, [item.code for item in found.refused]) == (0, ["event_id_conflict"])


def test_a_request_sent_again(publisher: Publisher, creation: Record) -> None:
    """Under the same key the answer is the first one, not one of duplicates; with another body it is refused."""
    sent = publication(creation(), b"{", request_key="k")
    first = publisher.publish(sent).result(SECONDS)
    again = publisher.publish(sent).result(SECONDS)
    assert again == Outcome(**{**first.__dict__, "repeated": True})
    with pytest.raises(UsageError) as reused:
        publisher.publish(publication(creation(id="x"), request_key="k")).result(SECONDS)
    assert reused.value.code == "request_key_reused"
    others = publication(creation(), request_key="k", source="key other")
    assert publisher.publish(others).result(SECONDS).duplicates == 1


def test_a_key_under_way(publisher: Publisher, creation: Record) -> None:
    """A second request under a key that is not answered yet is told to wait."""
    with publisher.paused():
        first = publisher.publish(publication(creation(), request_key="k"))
        with pytest.raises(UsageError, match="under way"):
            publisher.publish(publication(creation(), request_key="k"))
    assert first.result(SECONDS).accepted == 1


def test_only_the_types_of_the_key(publisher: Publisher, creation: Record, release: Record) -> None:
    """A key publishes its own event types only; another request in the same group is not touched by that."""
    mine = frozenset({"charge.creation"})
    with publisher.paused():
        wrong = publisher.publish(publication(creation(id="a"), release(), event_types=mine))
        right = publisher.publish(publication(creation(id="b"), event_types=mine))
    with pytest.raises(AccessError, match=r"charge\.release"):
        wrong.result(SECONDS)
    assert right.result(SECONDS).accepted == 1


def arrow(*rows: dict[str, Any], source: str = "key shop") -> Publication:
    """Creations as an Arrow stream; each row has its id, charge and gross amount."""
    at = "2026-01-02T03:04:05Z"
    records = [
        {
            "type": "charge.creation", "id": row["id"], "effective_at": at, "occurred_at": at,
            "property_charge": row["id"], "property_business": "acct_A", "property_network": "visa",
            "currency": "USD", "amount_gross": row["gross"],
        }
        for row in rows
    ]  # fmt: skip
    table = pl.DataFrame(records).to_arrow(compat_level=pl.CompatLevel.oldest())
    content = io.BytesIO()
    with pa.ipc.new_stream(content, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    return Publication(content.getvalue(), "arrow", source)


def test_arrow(publisher: Publisher) -> None:
    """An Arrow stream of several batches is taken in as one, and its refused rows are told by their place."""
    rows = ({"id": f"e{number}", "gross": 5 - number} for number in range(8))
    found = publisher.publish(arrow(*rows)).result(SECONDS)
    assert (found.accepted, [item.index for item in found.refused]) == (6, [6, 7])


def test_arrow_requests_in_one_commit(publisher: Publisher, opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """Arrow that waits together is one segment, apart from NDJSON; each is told of its own rows."""
    good, bad = {"gross": 100}, {"gross": None}
    found = together(
        publisher,
        [
            arrow({"id": "a", **good}, {"id": "b", **bad}, {"id": "c", **good}, source="key one"),
            arrow({"id": "d", **bad}, {"id": "a", **good}, {"id": "e", **good}, source="key two"),
            publication(creation(id="f")),
            arrow({"id": "g", **good}, source="key three"),
        ],
    )
    assert [(item.accepted, item.duplicates, item.refused_count) for item in found] == [
        (2, 0, 1), (1, 1, 1), (1, 0, 0), (1, 0, 0),
    ]  # fmt: skip
    assert [(item.first_sequence, item.last_sequence) for item in found] == [(1, 2), (3, 3), (4, 4), (5, 5)]
    assert [[refused.index for refused in item.refused] for item in found] == [[1], [0], [], []]
    workspace = opened[0]
    assert [item.event_count for item in workspace.log().segments] == [3, 1, 1]
    with workspace.catalog.read() as connection:
        waiting = quarantine.quarantined(connection)
    assert [(item.reason.source, item.reason.line) for item in waiting] == [("key one", 2), ("key two", 1)]


def test_arrow_that_cannot_be_read_stops_no_other(publisher: Publisher) -> None:
    """One unreadable stream, or an empty one, among those that wait is refused alone."""
    empty = arrow({"id": "x", "gross": 1})
    with pa.ipc.open_stream(empty.body) as reader:
        content = io.BytesIO()
        pa.ipc.new_stream(content, reader.schema).close()
    with publisher.paused():
        futures = [
            publisher.publish(item)
            for item in (
                arrow({"id": "a", "gross": 1}),
                Publication(b"nonsense", "arrow", "key shop"),
                Publication(content.getvalue(), "arrow", "key shop"),
                arrow({"id": "b", "gross": 1}),
            )
        ]
    assert [futures[place].result(SECONDS).accepted for place in (0, 3)] == [1, 1]
    for place, code in ((1, "arrow_unreadable"), (2, "request_empty")):
        with pytest.raises(DataError) as refused:
            futures[place].result(SECONDS)
        assert refused.value.code == code


def test_what_cannot_be_read(publisher: Publisher, creation: Record) -> None:
    """A body that is no Arrow, or empty, is refused by itself; the next one is taken in."""
    with pytest.raises(DataError):
        publisher.publish(Publication(b"nonsense", "arrow", "key shop")).result(SECONDS)
    with pytest.raises(DataError) as empty:
        publisher.publish(publication()).result(SECONDS)
    assert empty.value.code == "request_empty"
    assert publisher.publish(publication(creation())).result(SECONDS).accepted == 1


def test_many_refused(publisher: Publisher) -> None:
    """All refused records are counted and kept, and the first of them told."""
    found = publisher.publish(publication(*[b"{%d" % number for number in range(MOST_TOLD + 5)])).result(SECONDS)
    assert (found.refused_count, len(found.refused), found.refused[-1].index) == (MOST_TOLD + 5, MOST_TOLD, 999)


def test_too_much_waits(opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """Beyond the limits a request is refused at once; when there is room again, it is taken in."""
    publisher = Publisher(opened[0], Limits(waiting_requests=2))
    publisher.start()
    with publisher.paused():
        waiting = [publisher.publish(publication(creation(id=name))) for name in "ab"]
        with pytest.raises(OverloadError):
            publisher.publish(publication(creation(id="c")))
    assert [future.result(SECONDS).accepted for future in waiting] == [1, 1]
    assert publisher.publish(publication(creation(id="c"))).result(SECONDS).accepted == 1
    publisher.stop()


def test_too_many_bytes_wait(opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """So are bytes beyond the limit, but for a request that is alone."""
    publisher = Publisher(opened[0], Limits(waiting_bytes=100))
    publisher.start()
    with publisher.paused():
        alone = publisher.publish(publication(creation(id="a")))
        with pytest.raises(OverloadError):
            publisher.publish(publication(creation(id="b")))
    assert alone.result(SECONDS).accepted == 1
    publisher.stop()


def test_the_disk_refuses(publisher: Publisher, creation: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the log cannot be written, those who wait are told; as soon as it can, publishing goes on by itself."""
    taken = Door.take
    refusing = threading.Event()
    refusing.set()

    def take(self: Door, *arguments: Any, **options: Any) -> Taken:
        if refusing.is_set():
            raise StorageError("log_not_writable", "no space left on device")
        return taken(self, *arguments, **options)

    monkeypatch.setattr(Door, "take", take)
    with pytest.raises(StorageError) as refused:
        publisher.publish(publication(creation())).result(SECONDS)
    assert refused.value.code == "log_not_writable"
    refusing.clear()
    for _ in range(1000):
        try:
            assert publisher.publish(publication(creation())).result(SECONDS).accepted == 1
            break
        except StorageError:
            threading.Event().wait(0.05)
    else:
        raise AssertionError("publishing did not go on")


def test_it_is_open_when_all_is_read(opened: tuple[Workspace, Keeper], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has started it waits for nothing that the catalog has still to say."""
    publisher = Publisher(opened[0])
    was_open: list[bool] = []

    def reading(*arguments: Any) -> Reading:
        was_open.append(publisher._is_open)
        return Reading(*arguments)

    monkeypatch.setattr(publishing, "Reading", reading)
    publisher.start()
    publisher.stop()
    assert was_open == [False]


def test_acts_between(publisher: Publisher, opened: tuple[Workspace, Keeper], ledger: Ledger, creation: Record) -> None:
    """While it is paused, others use the lease: a changed model comes into force, and quarantine is sent again."""
    workspace = opened[0]
    found = publisher.publish(publication(creation(type="charge.made"))).result(SECONDS)
    assert found.refused[0].code == "event_type_unknown"
    flow = (ledger.folder / "flows" / "flow.yaml").read_text(encoding="utf-8")
    ledger.write_flow(flow.replace("charge.creation:", "charge.made:"))
    with publisher.paused():
        modelling.accept_model(workspace)
        assert quarantining.retry(workspace).receipt.accepted == 1
    assert publisher.publish(publication(creation(type="charge.made"))).result(SECONDS).duplicates == 1


def test_stopping(opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """What waits at the end is taken in; what comes after is refused."""
    publisher = Publisher(opened[0])
    publisher.start()
    futures = [publisher.publish(publication(creation(id=f"e{number}"))) for number in range(20)]
    publisher.stop()
    assert sum(future.result(SECONDS).accepted for future in futures) == 20
    with pytest.raises(StorageError, match="stopping"):
        publisher.publish(publication(creation(id="late")))


def test_another_writer(publisher: Publisher, ledger: Ledger, creation: Record) -> None:
    """While a service runs, no other process writes to its log."""
    with pytest.raises(StorageError) as busy:
        ledger.ingest(creation())
    assert busy.value.code == "writer_busy"


def test_what_leaves_nothing_to_do(publisher: Publisher, creation: Record) -> None:
    """After a request that cannot be read, and after one that was answered before, the next is taken in."""
    keyed = publication(creation(), request_key="k")
    assert publisher.publish(keyed).result(SECONDS).accepted == 1
    for number in range(3):
        with pytest.raises(DataError):
            publisher.publish(publication()).result(SECONDS)
        assert publisher.publish(keyed).result(SECONDS).repeated
        assert publisher.publish(publication(creation(id=f"n{number}"))).result(SECONDS).accepted == 1


def test_a_catalog_that_cannot_be_read_for_once(
    publisher: Publisher, creation: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for what it did not say is told; the same request sent again, and others, are taken in."""

    def unread(*_arguments: Any) -> None:
        raise StorageError("catalog_busy", "the catalog cannot be read just now")

    keyed = publication(creation(), request_key="k")
    with monkeypatch.context() as patch:
        patch.setattr(requests, "answers", unread)
        with publisher.paused():
            waiting = [publisher.publish(item) for item in (keyed, publication(creation(id="beside")))]
        for future in waiting:
            with pytest.raises(StorageError) as refused:
                future.result(SECONDS)
            assert refused.value.code == "catalog_busy"
    assert publisher.publish(keyed).result(SECONDS).accepted == 1
    assert publisher.publish(publication(creation(id="later"))).result(SECONDS).accepted == 1


def test_a_client_that_went_away(publisher: Publisher, opened: tuple[Workspace, Keeper], creation: Record) -> None:
    """What it had sent is taken in all the same, and so is what others send after it."""
    with publisher.paused():
        gone = publisher.publish(publication(creation(), request_key="k"))
        beside = publisher.publish(publication(creation(id="beside")))
        gone.cancel()
    assert beside.result(SECONDS).accepted == 1
    assert publisher.publish(publication(creation(id="later"))).result(SECONDS).accepted == 1
    assert opened[0].log().last_sequence == 3
    assert gone.result(SECONDS).accepted == 1
