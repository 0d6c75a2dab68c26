"""Bringing events in, from files, standard input and sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from clearwell.application.catching_up import Follower, following
from clearwell.application.modelling import put_in_force
from clearwell.application.projecting import require_whole_log
from clearwell.application.workspace import Workspace
from clearwell.application.writing import writing
from clearwell.catalog import manifest
from clearwell.catalog.lease import WriterLease
from clearwell.errors import UsageError
from clearwell.flows.model import Model
from clearwell.ingest.batches import Batch, at_most
from clearwell.ingest.door import Door, DoorOptions, Receipt
from clearwell.ingest.inputs import STANDARD_INPUT, Input, ReadOptions, read, source_inputs
from clearwell.ingest.personal import Encryption
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
        for item, batch, share in read(chosen, model, options):
            for part in at_most(batch, settings.batch_events):
                total += take(follower, door, part)
            report(item, share, len(batch.lines))
    return total


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
    workspace: Workspace, lease: WriterLease, *, imports: bool = False, since: datetime | None = None
) -> tuple[Model, Door]:
    """The door to the log, under the folder's model, which is put in force. What a crash left is set aside.

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
    )
    return model, Door(lease, workspace.log(), options)


def _set_leftovers_aside(workspace: Workspace, lease: WriterLease) -> None:
    """Clear the log's folder of files that no commit names: in a transaction, so that no other writer is at work."""
    with lease.write() as connection:
        moved = set_aside(workspace.log_folder, manifest.file_names(connection))
    for name in moved:
        workspace.say(f"{name} was never committed, and is kept in {workspace.data_folder / 'leftover'}.")


def take(follower: Follower, door: Door, batch: Batch) -> Receipt:
    """Make a batch durable, and have it projected soon. A reader that keeps the projections does not hold it up."""
    receipt, posted = door.take(batch)
    if posted is not None and receipt.first_sequence is not None and receipt.last_sequence is not None:
        follower.add(posted, receipt.first_sequence, receipt.last_sequence)
    return receipt
