"""PostgreSQL's own hash of a text, as a server of version 15 computes it."""

from __future__ import annotations

import pyarrow as pa

from clearwell.quality.row_hashes import PROBES, text_hashes

KNOWN = {
    "": -6939563903564495251,
    "a": 3591986179850072241,
    "é": -763932721387459829,
    "-12|USD|evt": 3628389549421849497,
    "1000|USD|evt_1": -7561585327570147377,
    "1000|USD|evt_0123456789012345": -3581877690544179916,
}


def test_hashes_are_those_of_a_server() -> None:
    """Of texts without a whole block of 12 bytes, and with one and two."""
    assert text_hashes(pa.array(KNOWN)).tolist() == list(KNOWN.values())


def test_a_hash_does_not_depend_on_its_neighbours() -> None:
    """One by one, in a part of an array, and more than are computed at once give the same."""
    alone = [text_hashes(pa.array([text]))[0] for text in PROBES]
    assert len(set(alone)) == len(PROBES)
    assert text_hashes(pa.array(PROBES * 900)).tolist() == alone * 900
    assert text_hashes(pa.array(PROBES)[5:9]).tolist() == alone[5:9]
    assert text_hashes(pa.array([], pa.string())).tolist() == []
