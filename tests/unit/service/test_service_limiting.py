"""The table of failed attempts: tokens, time, and a size that does not grow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from clearwell.errors import AccessError, OverloadError
from clearwell.service.limiting import OF_ADDRESS, OF_NAME, Attempts, network


class Seconds:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(attempts: Attempts, address: str = "a", name: str = "n") -> str:
    """Try, and fail; what was said."""
    try:
        with attempts.signing_in(address, name):
            raise AccessError("sign_in_wrong", "no")
    except (AccessError, OverloadError) as error:
        return error.code


def test_success_takes_no_token() -> None:
    """Whoever is right may sign in as often as they like."""
    attempts = Attempts(Seconds())
    for _ in range(100):
        with attempts.signing_in("a", "n"):
            pass


def test_an_error_of_ours_takes_no_token() -> None:
    """When the catalog cannot be read, nobody has failed."""
    attempts = Attempts(Seconds())
    for _ in range(100):
        with pytest.raises(RuntimeError), attempts.signing_in("a", "n"):
            raise RuntimeError


def test_tokens_come_back_with_time() -> None:
    """One per half a minute for a name, and never more than ten."""
    clock = Seconds()
    attempts = Attempts(clock)
    assert [fail(attempts, str(place)) for place in range(OF_NAME.failures + 1)][-2:] == [
        "sign_in_wrong",
        "attempts_too_many",
    ]
    clock.now += OF_NAME.seconds
    assert [fail(attempts, "x"), fail(attempts, "x")] == ["sign_in_wrong", "attempts_too_many"]
    clock.now += 1e9
    assert sum(fail(attempts, f"y{place}") == "sign_in_wrong" for place in range(50)) == OF_NAME.failures


def test_attempts_side_by_side_are_no_more_than_one_by_one() -> None:
    """The token is taken before the password is checked."""
    attempts = Attempts(Seconds())
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda _: fail(attempts), range(200)))
    assert said.count("sign_in_wrong") == OF_NAME.failures


def test_a_refused_attempt_takes_no_token_of_another_bucket() -> None:
    """Guessing at one name until it must wait does not use up what the address has for others."""
    attempts = Attempts(Seconds())
    for _ in range(100):
        fail(attempts, "a", "one")
    left = OF_ADDRESS.failures - OF_NAME.failures
    said = [fail(attempts, "a", f"other{place}") for place in range(left + 1)]
    assert said == ["sign_in_wrong"] * left + ["attempts_too_many"]


def test_the_table_is_bounded() -> None:
    """However many names and addresses are tried, so much is kept, of what was used last."""
    attempts = Attempts(Seconds(), most_kept=100)
    for place in range(1_000):
        fail(attempts, f"a{place}", f"n{place}")
        with attempts.signing_in(f"b{place}", f"m{place}"):
            pass
    assert len(attempts._buckets) == 100
    assert len(attempts._known) == 100


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    """Of IPv6 a network of 64 bits: one machine has all of its addresses."""
    assert network(address) == counted
