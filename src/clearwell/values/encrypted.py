"""The stored form of a personal value: encrypted under its subject's key, the same way each time.

AES-SIV (RFC 5297) with the property's name as associated data: the same value of the same property and subject gives
the same text, so that an event sent again compares equal. Keeps no key, and makes none.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_BYTES = 64
"""AES-SIV takes two keys of 256 bits: one for the synthetic nonce, one for the cipher."""

PREFIX = "personal:"
ERASED = f"{PREFIX}erased"
"""What is stored instead of a value whose subject was forgotten before it came."""

_FORM = f"{PREFIX}1:"


class Unreadable(Enum):
    """Why a stored value has no clear text any more; the member's value is what a reader is shown."""

    ERASED = "(erased)"
    LOST = "(unreadable)"


@dataclass(frozen=True, repr=False, slots=True)
class SubjectKey:
    """The key of one subject. `identifier` is public; whoever has `secret` (64 bytes) can read.

    The cipher is made anew each time: it takes 4 microseconds, and one that is kept takes 4 KB.
    """

    identifier: str
    secret: bytes

    def encrypted(self, name: str, value: str) -> str:
        """The stored form of a value (not empty) of the property `name`: `personal:1:KEY:CIPHERTEXT` (base64url)."""
        content = _cipher(self.secret).encrypt(value.encode(), [name.encode()])
        return f"{_FORM}{self.identifier}:{base64.urlsafe_b64encode(content).decode()}"

    def decrypted(self, name: str, stored: str) -> str | Unreadable:
        """The value again; LOST when the text was changed, or is of another key or another property."""
        from cryptography.exceptions import InvalidTag  # As below.

        try:
            content = base64.urlsafe_b64decode(stored.rpartition(":")[2])
            return _cipher(self.secret).decrypt(content, [name.encode()]).decode()
        except (InvalidTag, ValueError):
            return Unreadable.LOST


def key_of(stored: str) -> str | None:
    """The identifier of the key that a stored value was encrypted with; None when it is no encrypted value."""
    parts = stored.split(":")
    return parts[2] if stored.startswith(_FORM) and len(parts) == 4 else None


def _cipher(secret: bytes) -> AESSIV:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # Takes 35 ms: only where it is needed.

    return AESSIV(secret)
