"""Seals: they cover the whole log, whatever is batched, compacted or interrupted, and say nothing that is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import compacting, modelling, proving, sealing
from clearwell.application.sealing import Sealed
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.log.leaves import canonical
from clearwell.log.merkle import leaf_hash, node_hash
from clearwell.log.proofs import differences
from clearwell.log.seals import Seal

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]


def naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(naive_root(leaves[:left]), naive_root(leaves[left:]))


def catalog(ledger: Ledger, *statements: str) -> list[Any]:
    """Look into the catalog, or change it, behind the product's back."""
    with ledger.catalog() as connection:
        done = [connection.exec_driver_sql(statement) for statement in statements]
        return [[tuple(row) for row in result] if result.returns_rows else [] for result in done]


def sealed(ledger: Ledger) -> Seal:
    with ledger.open() as workspace:
        found = sealing.seal(workspace)
    assert found is not None
    return found


def stored(ledger: Ledger) -> Sealed:
    with ledger.open() as workspace:
        return sealing.read_sealed(workspace)


def texts(ledger: Ledger) -> list[str]:
    with ledger.open() as workspace:
        log = workspace.log()
        return list(canonical(log.between(1, log.last_sequence)))


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """Three segments of one, two and three events."""
    ledger.ingest(creation())
    ledger.ingest(*(creation(id=f"evt_2{number}", properties=_charge(f"ch_2{number}")) for number in range(2)))
    ledger.ingest(
        release(), *(creation(id=f"evt_3{number}", properties=_charge(f"ch_3{number}")) for number in range(2))
    )
    return ledger


def _charge(name: str) -> dict[str, str]:
    return {"charge": name, "business": "acct_A", "network": "visa"}


def test_a_seal_covers_the_whole_log(filled: Ledger, creation: Make) -> None:
    """The root is that of the canonical texts in order; nothing is sealed again, and what is new links on."""
    assert filled.verify().sealed == 0
    first = sealed(filled)
    assert (first.number, first.tree_size, first.segment_number) == (1, 6, 3)
    assert first.root == naive_root([leaf_hash(text.encode()) for text in texts(filled)]).hex()
    assert sealed(filled) == first
    filled.ingest(creation(id="evt_4", properties=_charge("ch_4")))
    assert (filled.verify().sealed, filled.verify().events) == (6, 7)
    second = sealed(filled)
    assert (second.tree_size, second.previous_hash) == (7, first.hash)
    assert second.root == naive_root([leaf_hash(text.encode()) for text in texts(filled)]).hex()
    verification = filled.verify()
    assert (verification.faults, verification.sealed) == ((), 7)


def test_compaction_changes_no_leaf(filled: Ledger, creation: Make) -> None:
    """After the files have become one, in another order, seals hold, and new ones go on from them."""
    first, before = sealed(filled), texts(filled)
    with filled.open() as workspace:
        assert compacting.compact(workspace).files_after == 1
    assert texts(filled) == before
    assert sealed(filled) == first
    filled.ingest(creation(id="evt_4", properties=_charge("ch_4")))
    assert sealed(filled).tree_size == 7
    assert filled.fault_codes() == set()


def test_an_interrupted_sealing_goes_on(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seals at the end of each file lead to the same root as one seal at the end of all."""
    monkeypatch.setattr(sealing, "SEAL_EVERY", 1)
    last = sealed(filled)
    assert [item.tree_size for item in stored(filled).seals] == [1, 3, 6]
    assert last.root == naive_root([leaf_hash(text.encode()) for text in texts(filled)]).hex()
    assert filled.fault_codes() == set()


def test_two_sealers_at_once_make_one_seal(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that comes second finds the seal of the first, and says the same."""
    whole, others = sealing._with_file, []

    def while_another_seals(*arguments: Any) -> Any:
        monkeypatch.setattr(sealing, "_with_file", whole)
        others.append(sealed(filled))
        return whole(*arguments)

    monkeypatch.setattr(sealing, "_with_file", while_another_seals)
    assert [sealed(filled)] == others == list(stored(filled).seals)


def test_a_changed_file_is_not_sealed(filled: Ledger) -> None:
    """What is not as it was written is not committed to: the sealing stops and names the file."""
    (path,) = (filled.data / "log").glob("segment-00000002-*.parquet")
    content = pl.read_parquet(path)
    content.with_columns(amount_gross=pl.col("amount_gross") + 1).write_parquet(path)
    with pytest.raises(StorageError) as caught:
        sealed(filled)
    assert caught.value.code == "segment_changed"
    assert path.name in caught.value.message
    path.unlink()
    with pytest.raises(StorageError) as caught:
        sealed(filled)
    assert caught.value.code == "segment_unreadable"
    assert stored(filled).seals == []


def test_there_is_nothing_to_seal_in_an_empty_log(ledger: Ledger) -> None:
    """Without a ledger it is an error, and without events there is no seal."""
    with ledger.open() as workspace:
        with pytest.raises(UsageError):
            sealing.seal(workspace)
        modelling.accept_model(workspace)
        assert sealing.seal(workspace) is None
        with pytest.raises(UsageError) as caught:
            proving.prove(workspace, "evt_1")
    assert caught.value.code == "event_unknown"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE seals SET root = '{zeros}' WHERE number = 2", "seal_root_wrong"),
        ("UPDATE seals SET sealed_at = '2020' WHERE number = 2", "seal_changed"),
        ("DELETE FROM seals WHERE number = 1", "seal_broken"),
        ("UPDATE seals SET segment_hash = '{zeros}' WHERE number = 2", "seal_segment_wrong"),
        ("INSERT INTO tree_blocks VALUES (0, '{zeros}')", "tree_block_wrong"),
    ],
)
def test_every_change_of_the_seals_is_a_fault(
    filled: Ledger, monkeypatch: pytest.MonkeyPatch, change: str, code: str
) -> None:
    """What is changed in the catalog behind the product's back is named by verify."""
    monkeypatch.setattr(sealing, "SEAL_EVERY", 1)
    sealed(filled)
    catalog(filled, change.format(zeros="0" * 64))
    assert code in filled.fault_codes()


def test_a_forger_who_links_the_seals_anew_is_found_by_the_events(filled: Ledger) -> None:
    """A seal whose hash and frontier fit its false root is refuted by the tree over the events."""
    false = sealing.next_seal(None, sealing.Frontier().extended(bytes(6 * 32))[0], _segments(filled)[-1], "2026")
    sealed(filled)
    assignments = ", ".join(f"{name} = '{value}'" for name, value in false.__dict__.items())
    catalog(filled, f"UPDATE seals SET {assignments}")
    assert filled.fault_codes() == {"seal_root_wrong"}


def _segments(ledger: Ledger) -> tuple[Any, ...]:
    with ledger.open() as workspace:
        return workspace.log().segments


@pytest.mark.parametrize("frontier", ["[]", "{", "null", '["00"]'])
def test_nothing_is_built_on_a_broken_seal(filled: Ledger, creation: Make, frontier: str) -> None:
    """A frontier that does not give the seal's root stops sealing and proving."""
    sealed(filled)
    catalog(filled, f"UPDATE seals SET frontier = '{frontier}'")
    filled.ingest(creation(id="evt_4", properties=_charge("ch_4")))
    with filled.open() as workspace:
        for act in (lambda: sealing.seal(workspace), lambda: proving.prove(workspace, "evt_1")):
            with pytest.raises(DataError) as caught:
                act()
            assert caught.value.code == "seal_root_wrong"


# --- proofs -----------------------------------------------------------------------------------------------------------


def test_every_event_is_proved_in_every_tree(filled: Ledger) -> None:
    """Each event has a proof in the tree of each size that has it, under its root, and in no smaller one."""
    events = texts(filled)
    leaves = [leaf_hash(text.encode()) for text in events]
    with filled.open() as workspace:
        for size in range(1, 7):
            root = naive_root(leaves[:size]).hex()
            for sequence in range(1, size + 1):
                proof = proving.prove(workspace, f"#{sequence}", tree=size)
                assert proof.event == events[sequence - 1]
                assert differences(proof, root, size) == []
            for sequence in range(size + 1, 7):
                with pytest.raises(UsageError) as caught:
                    proving.prove(workspace, f"#{sequence}", tree=size)
                assert caught.value.code == "event_not_in_tree"


def test_a_proof_outlives_growth_and_compaction(filled: Ledger, creation: Make) -> None:
    """The proof in the tree of a size is the same for ever."""
    with filled.open() as workspace:
        before = proving.prove(workspace, "evt_20", tree=3)
    filled.ingest(creation(id="evt_4", properties=_charge("ch_4")))
    with filled.open() as workspace:
        compacting.compact(workspace)
        assert proving.prove(workspace, "evt_20", tree=3) == before


def test_an_id_of_two_producers_asks_which(filled: Ledger, release: Make) -> None:
    """An id that two producers used is no answer; with the producer it is, and the sequence always is."""
    filled.ingest(release(id="evt_1", properties={"charge": "ch_30", "business": "acct_A"}))
    with filled.open() as workspace:
        with pytest.raises(UsageError) as caught:
            proving.prove(workspace, "evt_1")
        assert (caught.value.code, caught.value.details) == ("event_ambiguous", ("charges", "disbursements"))
        assert proving.prove(workspace, "evt_1", "disbursements").leaf_index == 6
        assert proving.prove(workspace, "evt_1", "charges") == proving.prove(workspace, "#1")


@pytest.mark.parametrize("event", ["evt_99", "#0", "#7", "#", "#x", ""])
def test_an_event_that_is_not_there_is_an_error(filled: Ledger, event: str) -> None:
    """The message says what was looked for."""
    with filled.open() as workspace:
        with pytest.raises(UsageError) as caught:
            proving.prove(workspace, event)
        assert caught.value.code == "event_unknown"
        with pytest.raises(UsageError) as caught:
            proving.prove(workspace, "evt_1", "nobody")
        assert caught.value.code == "event_unknown"
        with pytest.raises(UsageError) as caught:
            proving.prove(workspace, "evt_1", tree=7)
        assert caught.value.code == "tree_size_unknown"


# --- blocks -----------------------------------------------------------------------------------------------------------

BLOCK = 65_536
EVENTS = 2 * BLOCK + 1000


@pytest.fixture(scope="module")
def large(new_ledger: NewLedger, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A log of two complete blocks and a rest, in segments that end elsewhere, the first ones sealed by themselves."""
    made = new_ledger(batch_events=100_000)
    numbers = pl.int_range(EVENTS, eager=True)
    charge = pl.select(pl.format("ch_{}", numbers)).to_series()
    events = pl.DataFrame(
        {
            "type": ["charge.creation"] * EVENTS,
            "id": charge.str.replace("ch", "evt"),
            "effective_at": ["2026-01-02T03:04:05Z"] * EVENTS,
            "occurred_at": ["2026-01-02T03:04:05Z"] * EVENTS,
            "property_charge": charge,
            "property_business": ["acct_A"] * EVENTS,
            "property_network": ["visa"] * EVENTS,
            "amount_gross": numbers + 1,
            "currency_gross": ["USD"] * EVENTS,
        }
    )
    folder = tmp_path_factory.mktemp("large")
    for number, (start, end) in enumerate([(0, 30_000), (30_000, EVENTS)]):
        path = folder / f"{number}.parquet"
        events[start:end].write_parquet(path)
        assert made.ingest_file(path).accepted == end - start
        assert sealed(made).tree_size == end
    return made


@pytest.fixture(scope="module")
def large_leaves(large: Ledger) -> list[bytes]:
    return [leaf_hash(text.encode()) for text in texts(large)]


def test_block_roots_are_kept(large: Ledger, large_leaves: list[bytes]) -> None:
    """Each complete block's root is stored, and verify finds all right."""
    expected = {place: naive_root(large_leaves[place * BLOCK : (place + 1) * BLOCK]).hex() for place in range(2)}
    assert stored(large).blocks == expected
    assert large.fault_codes() == set()


@pytest.mark.parametrize("sequence", [1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, EVENTS])
@pytest.mark.parametrize("size", [EVENTS, EVENTS - 1, 2 * BLOCK + 1, 2 * BLOCK, BLOCK + 7, 30_000])
def test_proofs_reach_across_blocks(large: Ledger, large_leaves: list[bytes], sequence: int, size: int) -> None:
    """Events at the edges of blocks are proved in trees that end at and within blocks."""
    with large.open() as workspace:
        if sequence > size:
            with pytest.raises(UsageError):
                proving.prove(workspace, f"#{sequence}", tree=size)
            return
        proof = proving.prove(workspace, f"#{sequence}", tree=size)
    assert differences(proof, naive_root(large_leaves[:size]).hex(), size) == []


@pytest.fixture
def blocks_changed(large: Ledger, request: pytest.FixtureRequest) -> Iterator[None]:
    """A change of the stored block roots, taken back by what the product offers for it."""
    catalog(large, request.param)
    yield
    with large.open() as workspace:
        assert sealing.rebuild_blocks(workspace) == 2
    assert large.fault_codes() == set()


@pytest.mark.parametrize(
    "blocks_changed", [f"UPDATE tree_blocks SET hash = '{'0' * 64}' WHERE position = 1"], indirect=True
)
@pytest.mark.usefixtures("blocks_changed")
def test_a_wrong_block_root_makes_no_proof(large: Ledger) -> None:
    """A false block root is a fault, and a proof made with it is held back; `seal --blocks` mends it."""
    assert large.fault_codes() == {"tree_block_wrong"}
    with large.open() as workspace, pytest.raises(DataError) as caught:
        proving.prove(workspace, "#1")
    assert caught.value.code == "seal_root_wrong"


@pytest.mark.parametrize(
    "blocks_changed",
    ["DELETE FROM tree_blocks", "UPDATE tree_blocks SET hash = 'x'", "INSERT INTO tree_blocks VALUES (2, 'x')"],
    indirect=True,
)
@pytest.mark.usefixtures("blocks_changed")
def test_without_block_roots_the_log_is_read(large: Ledger, large_leaves: list[bytes]) -> None:
    """Block roots that are missing or no hashes are a fault, and proofs are made without them."""
    assert large.fault_codes() == {"tree_block_wrong"}
    with large.open() as workspace:
        proof = proving.prove(workspace, f"#{BLOCK}")
    assert differences(proof, naive_root(large_leaves).hex(), EVENTS) == []


def test_the_files_of_a_proof_can_be_gone_when_they_are_not_needed(large: Ledger, tmp_path: Path) -> None:
    """A proof reads the events of its own block, and not the whole log."""
    with large.open() as workspace:
        expected = proving.prove(workspace, f"#{EVENTS}")
    (first,) = (large.data / "log").glob("segment-00000001-*.parquet")
    aside = first.rename(tmp_path / first.name)
    try:
        with large.open() as workspace:
            assert proving.prove(workspace, f"#{EVENTS}") == expected
            with pytest.raises(StorageError):
                proving.prove(workspace, "#1")
    finally:
        aside.rename(first)
