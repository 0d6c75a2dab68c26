"""The command that makes a world: simulate writes its files, or plays it as a stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from clearwell.application.asked_texts import pairs
from clearwell.cli.output import meter
from clearwell.errors import UsageError
from clearwell.values.instants import parse_cut_instant

if TYPE_CHECKING:
    from clearwell.simulation.options import WorldOptions
    from clearwell.simulation.world import WorldChunk

STREAM = "-"
_STREAM_CHUNK = 20_000


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(
        epilog="Example: clearwell simulate world --events 100000 --seed 7 --fault missing_event=0.001   "
        "or: clearwell simulate - --speed 3600 | clearwell ingest -"
    )(simulate)


def simulate(
    folder: Annotated[str, typer.Argument(help="Where the event files and faults.ndjson go; - for standard output.")],
    count: Annotated[int, typer.Option("--events", min=1, help="About how many events.")] = 1_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal worlds.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=36_600, help="For how many days there are new charges.")] = 7,
    start: Annotated[
        str, typer.Option(metavar="INSTANT", help="When the first day begins; or now. Default: 2026-01-05.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="INSTANT", help="Only what has arrived by then. Default: all that follows.")
    ] = "",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LIFECYCLE.]KIND=RATE",
            help="The share of lifecycles with this fault, e.g. missing_event=0.001 or payout.late_event=0.5.",
        ),
    ] = None,
    no_faults: Annotated[bool, typer.Option("--no-faults", help="No faults but those that are named here.")] = False,
    incident: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:PRODUCER:START/END[/LATE]",
            help="All events of a producer in a range of time, e.g. dropped_hour:card_gateway:"
            "2026-01-07T18:00Z/2026-01-07T19:00Z or stuck_bank_file:bank_statements:2026-01-08/2026-01-09/5 days.",
        ),
    ] = None,
    form: Annotated[
        Literal["parquet", "ndjson"] | None,
        typer.Option("--format", help="The files' format. Default: parquet; of a stream: ndjson."),
    ] = None,
    with_recorded_at: Annotated[
        bool, typer.Option("--with-recorded-at", help="Each event says when it arrived, for ingest --import.")
    ] = False,
    speed: Annotated[
        str | None,
        typer.Option(metavar="real|FACTOR", help="Only with -: events as they fall due, so many times as fast."),
    ] = None,
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="Only with -: where the faults go.")] = None,
) -> None:
    """Write a simulated payments platform with planted faults: events for the example card_platform, and the truth.

    The file faults.ndjson says for each fault which accounts it strands, with how much money, from when to when.
    By rate or by incident: missing_event, wrong_property, wrong_amount, wrong_fee, fx_rounding, double_posting,
    late_event (arrives late), late_settlement (happens late). By incident also: dropped_hour, stuck_bank_file.
    """
    from clearwell.simulation.options import WorldOptions

    first = _instant("--start", start) or WorldOptions.start
    options = WorldOptions(
        events=count, seed=seed, start=first, span=timedelta(days=days), until=_instant("--until", until)
    )
    options = _with_faults(options, fault, incident, none=no_faults)
    if folder == STREAM:
        _refuse(form == "parquet", "--format", "ndjson, for a stream", "parquet")
        _play(options, _factor(speed), truth, with_recorded_at=with_recorded_at)
        return
    for option, value in (("--speed", speed), ("--truth", truth)):
        _refuse(value is not None, option, "- (standard output) beside it", f"the folder {folder}")
    from clearwell.simulation.files import write_world

    with meter("events", count) as shown:
        for written in write_world(options, Path(folder), form or "parquet", with_recorded_at=with_recorded_at):
            shown.advance(written - shown.count)
    typer.echo(f"Wrote {shown.count:,} events and the planted faults into {folder}.")


def _with_faults(
    options: WorldOptions, faults: list[str] | None, incidents: list[str] | None, *, none: bool
) -> WorldOptions:
    from clearwell.simulation.incidents import incident_from
    from clearwell.simulation.options import NO_FAULTS, with_rates

    rates = {}
    for key, text in pairs(faults, "--fault").items():
        try:
            rates[key] = float(text)
        except ValueError:
            _refuse(True, "--fault", "a rate from 0 to 1", repr(text))
    base = replace(options, faults=NO_FAULTS) if none else options
    return replace(with_rates(base, rates), incidents=tuple(map(incident_from, incidents or [])))


def _play(options: WorldOptions, speed: float | None, truth: Path | None, *, with_recorded_at: bool) -> None:
    from clearwell.simulation.playing import Pace, play
    from clearwell.simulation.world import simulate_with_faults

    def write(lines: str) -> None:
        sys.stdout.write(lines)
        sys.stdout.flush()

    pace = None if speed is None else Pace(options.start, speed, time.monotonic, time.sleep)
    chunks = simulate_with_faults(replace(options, chunk_events=_STREAM_CHUNK))
    with _faults_file(truth) as file:
        played = play(_telling(chunks, file), write, pace, with_recorded_at=with_recorded_at)
    typer.echo(f"{played:,} events.", err=True)


def _telling(chunks: Iterator[WorldChunk], file: IO[bytes] | None) -> Iterator[WorldChunk]:
    """The same chunks; their faults are written before their events are played."""
    from clearwell.simulation.files import write_faults

    for chunk in chunks:
        if file is not None:
            write_faults(chunk.faults, file)
            file.flush()
        yield chunk


@contextmanager
def _faults_file(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
        return
    if path.exists():
        raise UsageError("file_exists", f"{path} exists already: name a new file for the planted faults")
    with path.open("wb") as file:
        yield file


def _instant(option: str, text: str) -> datetime | None:
    if not text:
        return None
    if text == "now" and option == "--start":
        return datetime.now(UTC)
    try:
        return parse_cut_instant(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _factor(text: str | None) -> float | None:
    """World seconds per second; None is as fast as possible."""
    if text is None:
        return None
    try:
        factor = 1.0 if text == "real" else float(text)
    except ValueError:
        factor = 0.0
    _refuse(not 0 < factor < float("inf"), "--speed", "real, or a factor above 0", repr(text))
    return factor


def _refuse(wrong: bool, option: str, expected: str, found: str) -> None:
    if wrong:
        raise typer.BadParameter(f"expected {expected}, found {found}", param_hint=option)
