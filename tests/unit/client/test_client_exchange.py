"""Requests: made again while an error passes, and no longer; the same answer for the same key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from clearwell.client.blocking import Client
from clearwell.client.exchange import Means, Patience
from clearwell.client.sending import ClientOptions
from clearwell.errors import AccessError, ClearwellError, DataError, OverloadError, StorageError, UsageError
from faulty_service import FAULTS, FaultyService, Moments, event


def client_of(service: FaultyService, moments: Moments, **options: Any) -> Client:
    means = Means(moments.clock, moments.sleep, lambda: 1.0)
    return Client(
        "http://service", "cw_key", options=ClientOptions(**options), transport=service.transport, means=means
    )


def published(
    faults: Iterable[str | None], *events: dict[str, Any], **options: Any
) -> tuple[Any, FaultyService, Moments]:
    service, moments = FaultyService(faults), Moments()
    with client_of(service, moments, **options) as client:
        return client.publish(events), service, moments


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again_under_the_same_key(fault: str) -> None:
    """After each kind of fault the event is in the log once, and is told as accepted: the key names the request."""
    found, service, moments = published([fault, fault], event(1))
    assert (found.accepted, found.duplicates, service.log) == (1, 0, {"evt_1": 1})
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1
    assert len(moments.pauses) == 2


def test_pauses_double_up_to_the_longest() -> None:
    """The limit doubles, and the pause is a share of it."""
    patience = Patience(first_seconds=1.0, longest_seconds=5.0)
    _, _, moments = published(["away"] * 5, event(1), patience=patience)
    assert moments.pauses == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert patience.pause_seconds(2, 0.0, 0.25) == 1.0


def test_the_service_says_how_long_to_wait() -> None:
    """`Retry-After` in seconds comes before the random part, and has a limit."""
    _, _, moments = published(["busy"], event(1), patience=Patience(first_seconds=1.0))
    assert moments.pauses == [8.0]
    assert Patience().pause_seconds(0, 1e9, 0.0) == 300.0


def test_a_deadline_ends_it_with_the_last_error() -> None:
    """No pause goes beyond the deadline; the error is the one that did not pass."""
    service, moments = FaultyService(["busy"] * 99), Moments()
    client = client_of(service, moments, deadline_seconds=20.0)
    with client, pytest.raises(OverloadError) as found:
        client.publish(event(1))
    assert found.value.code == "too_many_waiting"
    assert moments.now <= 20.0
    service = FaultyService(["reset"] * 99)
    client = client_of(service, Moments(), deadline_seconds=20.0)
    with client, pytest.raises(StorageError) as unreachable:
        client.publish(event(1))
    assert unreachable.value.code == "service_unreachable"


@pytest.mark.parametrize(
    ("status", "branch"),
    [(400, UsageError), (401, AccessError), (404, UsageError), (413, UsageError), (422, DataError)],
)
def test_what_would_be_the_same_again_raises(status: int, branch: type[ClearwellError]) -> None:
    """A refused request is made once, and raises the service's code."""
    service, moments = FaultyService(), Moments()
    service.status = status
    with client_of(service, moments) as client, pytest.raises(branch) as found:
        client.publish(event(1))
    assert (found.value.code, len(service.requests)) == ("credentials_wrong", 1)


def test_refused_records_are_data() -> None:
    """A record that is refused is told with its place among all that were published, over several requests."""
    events = [event(number, type="bad" if number in (1, 4) else "charge.creation") for number in range(6)]
    found, service, _ = published([], *events, batch_events=2)
    assert (found.accepted, [item.index for item in found.refused], len(service.requests)) == (4, [1, 4], 3)
    assert found.refused[1].event == events[4]
    assert found.refused[1].message == "type: expected another, found bad"


def test_apart_isolates_the_event_because_of_which_a_request_is_refused() -> None:
    """In halves, until the event that may not be published stands alone; all others are accepted."""
    events = [event(number, type="forbidden" if number == 5 else "charge.creation") for number in range(8)]
    service = FaultyService()
    with client_of(service, Moments()) as client:
        with pytest.raises(AccessError):
            client.publish(events)
        found = client.publish(events, apart=True)
    assert (found.accepted, [(item.index, item.code) for item in found.refused]) == (7, [(5, "event_type_not_allowed")])


def test_how_far_it_got_is_told() -> None:
    """An error of a later request says how many events were answered before."""
    service, moments = FaultyService([None, *["reset"] * 99]), Moments()
    with client_of(service, moments, batch_events=2) as client, pytest.raises(StorageError) as found:
        client.publish([event(number) for number in range(4)])
    assert found.value.details == ("the first 2 of 4 events were answered",)


def test_large_bodies_are_packed() -> None:
    """From a size on a body is gzip; the same body is packed in the same way."""
    _, service, _ = published(["away"], *(event(number) for number in range(500)), gzip_bytes=1000)
    first, second = service.requests
    assert first.headers["content-encoding"] == "gzip"
    assert first.read() == second.read()
    assert len(service.log) == 500


def test_an_event_that_is_larger_than_a_batch_goes_alone() -> None:
    """Bytes divide requests as the number of events does."""
    _, service, _ = published([], *(event(number) for number in range(3)), batch_bytes=10)
    assert len(service.requests) == 3


def test_the_key_is_not_shown() -> None:
    """What prints a client's parts does not print its key."""
    client = client_of(FaultyService(), Moments())
    assert "cw_key" not in repr(client._sending.exchanging)
    client.close()


def test_options_that_an_answer_cannot_tell_of_are_refused() -> None:
    """An answer tells of 1,000 refused events, so a request has no more."""
    with pytest.raises(UsageError, match="batch_events"):
        ClientOptions(batch_events=1001)
    with pytest.raises(UsageError, match="URL"):
        Client("service:8080", "cw_key")
