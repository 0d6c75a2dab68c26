"""The stored form of personal values: read again with the key, the same each time, and worth nothing without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.values.encrypted import ERASED, KEY_BYTES, PREFIX, SubjectKey, Unreadable, key_of

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=512)
SECRETS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
KEY = SubjectKey("00" * 12, bytes(range(KEY_BYTES)))


@given(TEXTS, SECRETS)
def test_what_is_encrypted_can_be_decrypted(value: str, secret: bytes) -> None:
    """With its key, every text comes back; the stored form names the key, and is plain ASCII without spaces."""
    key = SubjectKey("0123456789abcdef01234567", secret)
    stored = key.encrypted("email", value)
    assert key.decrypted("email", stored) == value
    assert key_of(stored) == key.identifier
    assert stored.startswith(PREFIX)
    assert stored.isascii()
    assert not set(stored) & set(" ,\"'\n")


@given(TEXTS, TEXTS)
def test_equal_values_and_no_others_look_equal(first: str, second: str) -> None:
    """Under one key and name, two stored forms are equal exactly when the values are."""
    assert (KEY.encrypted("email", first) == KEY.encrypted("email", second)) == (first == second)


def test_neither_the_property_nor_the_subject_shows() -> None:
    """The same value looks different in another property, and under another key."""
    other = SubjectKey(KEY.identifier, bytes(KEY_BYTES))
    assert (
        len({KEY.encrypted("email", "alice"), KEY.encrypted("name", "alice"), other.encrypted("email", "alice")}) == 3
    )


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_changed_text_is_not_decrypted(place: int, character: str) -> None:
    """Whatever character of the ciphertext is another one, no wrong value comes out."""
    stored = KEY.encrypted("email", "alice@example.com")
    start = stored.rindex(":") + 1
    place = start + place % (len(stored) - start)
    changed = stored[:place] + character + stored[place + 1 :]
    assert KEY.decrypted("email", changed) in (Unreadable.LOST, "alice@example.com")


def test_another_key_or_property_does_not_decrypt() -> None:
    """A value is bound to its key and to its property."""
    stored = KEY.encrypted("email", "alice@example.com")
    assert SubjectKey(KEY.identifier, bytes(KEY_BYTES)).decrypted("email", stored) is Unreadable.LOST
    assert KEY.decrypted("name", stored) is Unreadable.LOST


@pytest.mark.parametrize("text", ["", "alice", ERASED, "personal:1:x", "personal:2:00:AAAA", "personal:1:a:b:c"])
def test_what_is_not_encrypted_has_no_key(text: str) -> None:
    """Clear texts, the erased value and unknown forms name no key."""
    assert key_of(text) is None


def test_a_key_is_not_printed() -> None:
    """The representation of a key, as in a traceback, does not hold the secret."""
    assert KEY.secret.hex()[:16] not in repr(KEY)
    assert repr(KEY.secret)[2:20] not in repr(KEY)
