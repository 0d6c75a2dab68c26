"""Bringing events in, from files, standard input and sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta

from clearwell.application.auditing import noting
from clearwell.application.catching_up import Follower, following
from clearwell.application.modelling import put_in_force
from clearwell.application.projecting import require_whole_log
from clearwell.application.workspace import Workspace
from clearwell.application.writing import writing
from clearwell.catalog import manifest
from clearwell.catalog.lease import WriterLease
from clearwell.errors import UsageError
from clearwell.flows.model import Model
from clearwell.ingest.batches import at_most
from clearwell.ingest.door import Checked, Door, DoorOptions, Receipt
from clearwell.ingest.inputs import STANDARD_INPUT, Input, ReadOptions, read, source_inputs
from clearwell.ingest.personal import Encryption
from clearwell.log.ahead import one_ahead
from clearwell.log.leftovers import set_aside
from clearwell.values import columns
from clearwell.values.times import to_instants

Progress = Callable[[Input, float, int], None]
"""Told, per batch: the input, the share of it that is read, and how many records the batch had."""


def ingest(
    workspace: Workspace,
    inputs: Sequence[Input],
    *,
    variables: dict[str, str] | None = None,
    imports: bool = False,
    report: Progress = lambda _input, _share, _records: None,
) -> Receipt:
    """Take every record of `inputs` in, in order; without inputs, the project's sources.

    Every batch is durable before the next is taken in, so an interrupted run can simply be repeated; the projections
    follow in a thread, and have caught up when this returns.
    With `imports`, they are history: events keep the `recorded_at` that they bring, which never decreases.
    Raises UsageError when there is nothing to read, DataError when an input or the model is wrong.
    """
    chosen = list(inputs) or source_inputs(workspace.folder)
    if not chosen:
        raise UsageError("nothing_to_ingest", "expected input files, or sources/*.sql in the project; found neither")
    settings = workspace.settings
    options = ReadOptions(
        batch_rows=settings.batch_events,
        record_bytes=settings.record_bytes,
        folder=workspace.folder,
        variables={**settings.variables, **(variables or {})},
        imports=imports,
        earlier_amounts=workspace.amount_names(),
    )
    total = Receipt()
    with writing(workspace) as lease, following(workspace) as follower:
        since = _beginning(workspace, chosen[0], options) if imports else None
        model, door = open_door(workspace, lease, imports=imports, since=since)
        with noting(workspace, "events.ingest") as told:
            for item, checked, share, count in _checked(chosen, door, model, options):
                total += take(follower, door, checked)
                told.update(inputs=[item.name for item in chosen], imports=imports, **total.__dict__)
                report(item, share, count)
    return total


def _checked(
    inputs: Sequence[Input], door: Door, model: Model, options: ReadOptions
) -> Iterator[tuple[Input, Checked, float, int]]:
    """Every batch of the inputs, checked, with its input, the share of that which is read, and how many records it had.

    While one is taken in, the next is read and checked, in a thread; from standard input, only when it is asked for.
    """
    waits = any(item.name == STANDARD_INPUT for item in inputs)
    batches = _checked_one_by_one(inputs, door, model, options)
    return batches if waits else one_ahead(batches)


def _checked_one_by_one(
    inputs: Sequence[Input], door: Door, model: Model, options: ReadOptions
) -> Iterator[tuple[Input, Checked, float, int]]:
    for item, batch, share in read(inputs, model, options):
        *parts, last = at_most(batch, options.batch_rows)
        for part in parts:
            yield item, door.check(part), share, 0
        yield item, door.check(last), share, len(batch.lines)


def _beginning(workspace: Workspace, first: Input, options: ReadOptions) -> datetime | None:
    """Just before the history in `first` begins, when the log is empty; None when it is not, or nobody can tell."""
    if first.name == STANDARD_INPUT:
        raise UsageError("import_from_pipe", "expected files or sources to import, for their beginning is read twice")
    if workspace.log().segments:
        return None
    for _input, batch, _share in read([first], workspace.project_model(), options):
        if columns.RECORDED_AT in batch.records.columns:
            earliest = to_instants(batch.records[columns.RECORDED_AT]).min()
            return earliest - timedelta(microseconds=1) if isinstance(earliest, datetime) else None
    return None


def open_door(
    workspace: Workspace,
    lease: WriterLease,
    *,
    imports: bool = False,
    since: datetime | None = None,
    timed: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> tuple[Model, Door]:
    """The door to the log, under the folder's model, which is put in force. What a crash left is set aside.

    `timed` measures its steps, as `DoorOptions` says.
    Raises DataError when the log has lost events that were there, so that nothing is written over them.
    """
    require_whole_log(workspace)
    _set_leftovers_aside(workspace, lease)
    model, in_force_since = put_in_force(workspace, lease, accept=False, since=since)
    options = DoorOptions(
        log_folder=workspace.log_folder,
        identity_folder=workspace.data_folder / "identities",
        model=model,
        in_force_since=in_force_since,
        currencies=workspace.currencies,
        future_limit=workspace.settings.future_limit,
        clock=workspace.clock,
        encryption=Encryption(model, lambda: workspace.keys),
        decryption=workspace.decryption,
        imports=imports,
        timed=timed,
    )
    return model, Door(lease, workspace.log(), options)


def _set_leftovers_aside(workspace: Workspace, lease: WriterLease) -> None:
    """Clear the log's folder of files that no commit names: in a transaction, so that no other writer is at work.

    Where a compaction of this process is at work, they can wait until the log is opened the next time.
    """
    if not workspace.shared.uncommitted.acquire(blocking=False):
        return
    try:
        with lease.write() as connection:
            moved = set_aside(workspace.log_folder, manifest.file_names(connection))
    finally:
        workspace.shared.uncommitted.release()
    for name in moved:
        workspace.say(f"{name} was never committed, and is kept in {workspace.data_folder / 'leftover'}.")


def take(follower: Follower, door: Door, checked: Checked) -> Receipt:
    """Make a batch durable, and have it projected soon. A reader that keeps the projections does not hold it up."""
    taken = door.take(checked)
    for part in taken.posted:
        follower.add(part)
    return taken.receipt
