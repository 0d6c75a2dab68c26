"""Who changes something, and from where: what an entry of the audit says of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """Somebody who acts: `who` with its kind, such as `key checkout` or `person alice@example.com`; `origin` is where.

    The origin is the address of a request, or `command line` or `Python` on the machine itself.
    """

    who: str
    origin: str
