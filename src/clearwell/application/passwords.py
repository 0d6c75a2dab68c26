"""Passwords: hashed with argon2id, and checked in the same time whether or not there is anything to check against."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from clearwell.errors import OverloadError, UsageError

SHORTEST, LONGEST = 12, 1_024
"""The fewest and the most characters of a password."""

_AT_ONCE = 2
"""Each takes 64 MiB and tens of milliseconds, so that many at once would be a way to bring the service down."""
_WAIT_SECONDS = 5.0

_hasher = PasswordHasher()
_turn = threading.BoundedSemaphore(_AT_ONCE)


def hash_password(password: str, name: str) -> str:
    """What is kept of a new password of the person `name`.

    Raises UsageError for one that is too short, too long, or the name, and OverloadError as `verify` does.
    """
    plain = _normal(password)
    if not SHORTEST <= len(plain) <= LONGEST:
        expected = f"a password of {SHORTEST} to {LONGEST} characters"
        raise UsageError("password_length_wrong", f"expected {expected}, found {len(plain)}")
    if plain.casefold() == name.casefold():
        raise UsageError("password_is_name", "expected a password that is not the name")
    with _Turn():
        return _hasher.hash(plain)


def verify(password_hash: str, password: str) -> bool:
    """Whether the password is the one that was hashed. Without a hash (empty) it is not, and takes as long to say.

    Raises OverloadError when more are being checked than can be.
    """
    with _Turn():
        try:
            return _hasher.verify(password_hash or _nobodys(), _normal(password)[:LONGEST]) and bool(password_hash)
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than one made now, and is to be made anew."""
    return _hasher.check_needs_rehash(password_hash)


def rehash(password: str) -> str:
    """The hash, made anew, of a password that was right."""
    with _Turn():
        return _hasher.hash(_normal(password))


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody has this password")


def _normal(password: str) -> str:
    """The same password, however a keyboard puts its accents together; half characters, which are no text, are gone."""
    return unicodedata.normalize("NFC", password.encode("utf-8", "replace").decode())


class _Turn:
    def __enter__(self) -> None:
        if not _turn.acquire(timeout=_WAIT_SECONDS):
            raise OverloadError("sign_ins_too_many", "more people sign in than can be checked: try again in a moment")

    def __exit__(self, *_error: object) -> None:
        _turn.release()
