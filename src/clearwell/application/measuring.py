"""The metrics of quality at a cut: picks where the answer comes from, runs it, and puts the rows together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa

from clearwell.application.cutting import CutRequest, Evaluated, Known, books_at, known_at
from clearwell.application.reading import reading
from clearwell.application.scoring import period_named, tree_of
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.quality import cleared, metrics, relations
from clearwell.quality.dialects import Dialect, statement
from clearwell.quality.due import business_windows, fixed_windows, of_values
from clearwell.quality.metrics import METRICS, OF_EVENTS, Metric, Scope, Sections, relation
from clearwell.quality.rows import BUCKETS, BY_MODEL, PROPERTY, Subjects, rows, summed
from clearwell.quality.running import Engine, LogAtCut
from clearwell.quality.windows import value_windows
from clearwell.values.cuts import Cut
from clearwell.values.durations import FixedDuration, parse_duration
from clearwell.values.periods import ALL_TIME, KINDS, Span, micros


@dataclass(frozen=True)
class MeasureRequest:
    """Which metric, of which period, told apart by what: names of `BY_MODEL`, kinds of periods, or one property.

    A property is named as it is, or as `property:NAME`, which also one that has the name of something else needs.
    `engine` is `duckdb` or the address of another; `most` bounds the values of a property, the rest comes together.
    `past_due` are where the buckets of aging end, as durations are written in flows; empty, they are the usual ones.
    """

    metric: Metric
    period: str = "all"
    by: tuple[str, ...] = ()
    engine: str = "duckdb"
    most: int = 20
    past_due: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasureReport:
    """The cut, the period, and rows as docs/guides/quality.md lists them for the metric."""

    cut: Cut
    period: Span
    rows: list[dict[str, Any]]


def measure(workspace: Workspace, request: CutRequest, wanted: MeasureRequest) -> MeasureReport:
    """One metric in cross-sections. Raises UsageError for a cut, period, section or engine that cannot be."""
    with measuring(workspace, request, wanted.engine) as measures:
        span = period_named(wanted.period, measures.books)
        return MeasureReport(measures.books.cut, span, measures.rows(wanted, span))


@dataclass(frozen=True)
class QualityReport:
    """The cut, the period, the tree of scores, and the metrics behind it: rows as docs/guides/quality.md lists them."""

    cut: Cut
    period: Span
    nodes: list[dict[str, Any]]
    timeliness: list[dict[str, Any]]
    lags: list[dict[str, Any]]
    clearing: list[dict[str, Any]]
    aging: list[dict[str, Any]]


def quality(workspace: Workspace, request: CutRequest, period: str = "month", engine: str = "duckdb") -> QualityReport:
    """Scores and metrics of a period, all by one engine. Raises as `measure` does."""
    with measuring(workspace, request, engine) as measures:
        span = period_named(period, measures.books)
        rows = {metric: measures.rows(MeasureRequest(metric), span) for metric in METRICS}
        return QualityReport(measures.books.cut, span, tree_of(workspace, measures, span), **rows)


@contextmanager
def measuring(workspace: Workspace, request: CutRequest, engine: str) -> Iterator[Measures]:
    """What runs metrics at a cut. DuckDB asks the projections for episodes; another engine has the log alone."""
    if engine == "duckdb":
        with books_at(workspace, request) as books:
            yield measures_on(workspace, books)
        return
    known = known_at(workspace, request)
    with closing(workspace.engine(engine, _log_at(known), None)) as running, reading(known.log):
        yield Measures(known, running, kept=False)


def measures_on(workspace: Workspace, books: Evaluated) -> Measures:
    """What runs metrics by DuckDB, on the books of a cut, as long as these are open."""
    books.store.connection.execute(f"CREATE TEMP VIEW {relations.KEPT_EPISODES} AS {_KEPT}")
    with reading(books.log):
        return Measures(books, workspace.engine("duckdb", _log_at(books), books.store.connection), kept=True)


def statement_behind(workspace: Workspace, request: CutRequest, wanted: MeasureRequest, dialect: Dialect) -> str:
    """The statement that gives the sums of a metric in another system, from the log alone (`quality.dialects`).

    Its rows are those of `metrics.relation`: periods of sections are still quarters of an hour, flows and owners are
    not there. Raises as `measure` does.
    """
    known = known_at(workspace, request)
    with closing(workspace.engine("duckdb", _log_at(known), None)) as running, reading(known.log):
        measures = Measures(known, running, kept=False)
        return measures.statement(wanted, period_named(wanted.period, known), dialect)


_KEPT = " UNION ALL ".join(
    "SELECT account_type, account, currency, balance::DECIMAL(38, 0) AS balance, "
    "turnover::DECIMAL(38, 0) AS turnover, entry_count::BIGINT AS entry_count, "
    f"epoch_us(opened_effective_at) AS opened_us, epoch_us(last_effective_at) AS last_us FROM {name}"
    for name in ("open_at", "episodes_at")
)


class Measures:
    """Runs metrics at one cut."""

    def __init__(self, books: Known, engine: Engine, *, kept: bool) -> None:
        """With `kept`, the engine has the relation `relations.KEPT_EPISODES`."""
        self.books = books
        self._engine = engine
        self._episodes = relations.kept_episodes() if kept else None

    def rows(self, wanted: MeasureRequest, span: Span) -> list[dict[str, Any]]:
        """The rows of a metric, with every figure that its documentation names."""
        sections, books = self._sections(wanted), self.books
        frame = self.frame(wanted.metric, span, sections)
        if sections.property_name in books.personal_names:
            shown = books.decryption.shown(str(sections.property_name), frame["value"].drop_nulls().unique())
            frame = frame.with_columns(pl.col("value").replace(shown))
        buckets = wanted.past_due or BUCKETS
        return rows(frame, Subjects.of(books.models, books.model), wanted.by, books.time_zone, buckets)

    def frame(self, metric: Metric, span: Span, wanted: Sections) -> pl.DataFrame:
        """The rows of `metrics.relation`; counts and money are whole numbers of 128 bits."""
        with reading(self.books.log):
            return _as_frame(self._engine.run(relation(metric, self.scope, span, wanted), self._tables(metric)))

    def clearing_among(self, accounts: pl.DataFrame, wanted: Sections) -> pl.DataFrame:
        """The rows of clearing, of all time, of the accounts with these keys alone (`account_type`, `account`)."""
        scope = replace(self.scope, episodes=metrics.episodes_among(self.scope))
        tables = {**self._tables("clearing"), metrics.CHOSEN_ACCOUNTS: accounts.to_arrow()}
        with reading(self.books.log):
            return _as_frame(self._engine.run(relation("clearing", scope, ALL_TIME, wanted), tables))

    def statement(self, wanted: MeasureRequest, span: Span, dialect: Dialect) -> str:
        """What gives the rows of `frame` in another system."""
        asked = relation(wanted.metric, self.scope, span, self._sections(wanted))
        return statement(asked, _log_at(self.books), dialect, self._tables(wanted.metric))

    @property
    def scope(self) -> Scope:
        """The cut as relations need it."""
        model = self.books.model
        return Scope(
            models=self.books.models,
            model=model,
            effective_us=micros(self.books.cut.effective_at),
            window_seconds=fixed_windows(model, self.books.learned_seconds),
            kinds=self.books.kinds,
            episodes=self._episodes,
        )

    def _tables(self, metric: Metric) -> dict[str, pa.Table]:
        if metric in OF_EVENTS:
            return {}
        kinds, tables = self.books.kinds, dict[str, pa.Table]()
        if kinds.business_days:
            tables[cleared.BUSINESS_WINDOWS] = self._business_windows()
        if kinds.places:
            tables[cleared.VALUE_WINDOWS] = of_values(value_windows(kinds, self.books.learned_seconds))
        return tables

    def _business_windows(self) -> pa.Table:
        log = relations.events(self.books.models)
        found = self._engine.run(log.agg(first=log.effective_us.min(), last=log.effective_us.max())).to_pylist()
        first, last = found[0]["first"], found[0]["last"]
        if first is None:
            first, last = 0, -1
        return business_windows(self.books.model, self.books.time_zone, int(first), int(last))

    def _sections(self, wanted: MeasureRequest) -> Sections:
        of_events = wanted.metric in OF_EVENTS
        for name in ("account_type",) if of_events else ("event_type", "producer"):
            if name in wanted.by:
                raise UsageError("section_unknown", f"{wanted.metric} has no {name}")
        if wanted.metric == "lags" and "currency" in wanted.by:
            raise UsageError("section_unknown", "lags are of events, which may have several currencies")
        return Sections(
            property_name=_property_of(wanted.by, _properties(self.books, wanted.metric)),
            producers=of_events and (not wanted.by or "producer" in wanted.by),
            quarters=any(name in KINDS for name in wanted.by),
            most=wanted.most,
            ages=_ages(wanted.past_due) or cleared.AGES,
        )


def _property_of(by: Sequence[str], known: Collection[str]) -> str | None:
    """The property among the names of sections, if there is one. Raises UsageError for two, and for an unknown one."""
    named = [name for name in by if name not in (*BY_MODEL, *KINDS)]
    if len(named) > 1:
        raise UsageError("section_unknown", f"expected one property at most, found {', '.join(named)}")
    for name in named:
        if (found := name.removeprefix(PROPERTY)) in known:
            return found
        shown = [f"{PROPERTY}{item}" if item in (*BY_MODEL, *KINDS) else item for item in sorted(known)]
        expected = ", ".join((*BY_MODEL, *KINDS, *shown))
        raise UsageError("section_unknown", f"expected one of {expected}, found {name!r}")
    return None


def _ages(texts: tuple[str, ...]) -> tuple[int, ...]:
    """Where buckets end, in seconds. Raises UsageError for what is no duration, and for any that is not longer."""
    try:
        durations = [parse_duration(text) for text in texts]
    except ValueError as error:
        raise UsageError("past_due_unreadable", f"past due: {error}") from error
    ages = [item.seconds for item in durations if isinstance(item, FixedDuration)]
    if len(ages) < len(texts) or ages != sorted(set(ages)):
        raise UsageError("past_due_unreadable", f"expected durations, each longer than the last, found {list(texts)}")
    return tuple(ages)


def _log_at(books: Known) -> LogAtCut:
    paths = [str(books.log.path(item)) for item in books.log.files]
    schema = relations.event_schema(books.models.values())
    return LogAtCut(paths, books.cut.sequence, micros(books.cut.effective_at), schema)


def _properties(books: Known, metric: Metric) -> set[str]:
    if metric in OF_EVENTS:
        return {name for model in books.models.values() for name in model.property_names}
    return {name for item in books.model.account_types.values() for name in item.properties}


def _as_frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.col(summed(frame)).cast(pl.Int128))
