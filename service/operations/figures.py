"""Figures of the database as Prometheus has them, looked at anew at most every few seconds."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from api_schemas.jobs import JobKind
from service.database import Database
from service.operations import repository
from service.operations.repository import (
    BUCKETS_SECONDS,
    SHOWN_KINDS,
    SHOWN_STATES,
    Backlog,
    StageFigures,
    Welfare,
)

FRESH_SECONDS = 5.0
"""Scrapes come every 15 s or so; several at once, or of a reader without a key, cost one look."""
_LEASES = ("held", "between_attempts", "lost")


@dataclass(frozen=True)
class Figures:
    """What one look at the database found."""

    rounds: dict[str, int]
    overdue: Backlog
    queued: dict[JobKind, Backlog]
    running: dict[tuple[str, str], int]
    stages: list[StageFigures]
    failed_attempts: dict[str, int]
    messages: Backlog
    welfare: Welfare | None

    @classmethod
    def read(cls, session: Session) -> "Figures":
        return cls(
            rounds=repository.count_rounds(session),
            overdue=repository.overdue_rounds(session),
            queued={kind: repository.queued_jobs(session, kind) for kind in SHOWN_KINDS},
            running=repository.count_running_jobs(session),
            stages=repository.stage_figures(session),
            failed_attempts=repository.count_failed_attempts(session),
            messages=repository.pending_messages(session),
            welfare=repository.last_welfare(session),
        )


@dataclass
class OperationsMetrics:
    """The last look at the database, kept for FRESH_SECONDS."""

    clock: Callable[[], float] = time.monotonic
    _looked_at: float | None = None
    _figures: Figures | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def text(self, database: Database, *, for_operator: bool) -> bytes:
        """In Prometheus's text format. Of a database that is away only that it is."""
        figures = self._current(database)
        registry = CollectorRegistry()
        registry.register(_Families(figures, for_operator))
        return generate_latest(registry)

    def _current(self, database: Database) -> Figures | None:
        with self._lock:
            now = self.clock()
            if self._looked_at is None or now - self._looked_at >= FRESH_SECONDS:
                self._figures = _look(database)
                self._looked_at = self.clock()
            return self._figures


def _look(database: Database) -> Figures | None:
    try:
        with database.read() as session:
            return Figures.read(session)
    except (OperationalError, InterfaceError):
        return None


@dataclass(frozen=True, eq=False)  # a registry keeps its collectors by their identity
class _Families:
    """A collector of Prometheus's client. Whoever has no operator's key gets `public` alone: what
    the API tells every group too."""

    figures: Figures | None
    for_operator: bool

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "truthtune_database_up",
            "1 if the database answered; else 0, and nothing below is told.",
            value=float(self.figures is not None),
        )
        if self.figures is not None:
            kinds = SHOWN_KINDS if self.for_operator else SHOWN_KINDS[:1]
            yield from _public(self.figures, kinds)
            if self.for_operator:
                yield from _of_the_operator(self.figures)


def _public(figures: Figures, kinds: tuple[JobKind, ...]) -> Iterator[Metric]:
    rounds = GaugeMetricFamily(
        "truthtune_rounds", "Rounds that were opened, by their state now.", labels=["state"]
    )
    for state in SHOWN_STATES:
        rounds.add_metric([state], figures.rounds.get(state, 0))
    yield rounds
    yield GaugeMetricFamily(
        "truthtune_rounds_overdue_seconds",
        "How long the first of the open rounds is past its announced deadline.",
        value=figures.overdue.seconds,
    )
    yield from _of_jobs(figures, kinds)
    yield _durations(figures.stages)


def _of_jobs(figures: Figures, kinds: tuple[JobKind, ...]) -> Iterator[Metric]:
    queued = GaugeMetricFamily(
        "truthtune_jobs_queued", "Jobs that no coordinator has taken yet.", labels=["kind"]
    )
    age = GaugeMetricFamily(
        "truthtune_job_queue_age_seconds",
        "How long the first of the queued jobs has waited.",
        labels=["kind"],
    )
    running = GaugeMetricFamily(
        "truthtune_jobs_running",
        "Jobs that were taken: held by a coordinator, between two attempts, or lost by a "
        "coordinator that fell silent.",
        labels=["kind", "lease"],
    )
    for kind in kinds:
        queued.add_metric([kind], figures.queued[kind].waiting)
        age.add_metric([kind], figures.queued[kind].seconds)
        for lease in _LEASES:
            running.add_metric([kind, lease], figures.running.get((kind, lease), 0))
    yield from (queued, age, running)


def _durations(stages: list[StageFigures]) -> Metric:
    durations = HistogramMetricFamily(
        "truthtune_stage_seconds", "How long rounds' stages took, in seconds.", labels=["stage"]
    )
    for each in stages:
        bounds = [str(float(bound)) for bound in BUCKETS_SECONDS]
        buckets = [*zip(bounds, each.at_most, strict=True), ("+Inf", each.finished)]
        durations.add_metric([each.stage], buckets, each.seconds)
    return durations


def _of_the_operator(figures: Figures) -> Iterator[Metric]:
    yield from _tokens(figures.stages)
    failed = CounterMetricFamily(
        "truthtune_job_attempts_failed",
        "Attempts at jobs that a fault of machines ended, by its code.",
        labels=["code"],
    )
    for code, count in figures.failed_attempts.items():
        failed.add_metric([code], count)
    yield failed
    yield GaugeMetricFamily(
        "truthtune_webhook_messages_pending",
        "Webhook messages, but those about jobs, that have not arrived.",
        value=figures.messages.waiting,
    )
    yield GaugeMetricFamily(
        "truthtune_webhook_messages_overdue_seconds",
        "How long ago the first of them was due to be sent.",
        value=figures.messages.seconds,
    )
    if figures.welfare is not None:
        yield from _of_the_last_round(figures.welfare)


def _tokens(stages: list[StageFigures]) -> Iterator[Metric]:
    tokens = CounterMetricFamily(
        "truthtune_stage_tokens",
        "Response tokens that rounds' stages sampled, or trained on.",
        labels=["stage"],
    )
    seconds = CounterMetricFamily(
        "truthtune_stage_token_seconds",
        "Seconds that the stages took in which these tokens were counted.",
        labels=["stage"],
    )
    for each in stages:
        if each.token_seconds > 0:
            tokens.add_metric([each.stage], each.tokens)
            seconds.add_metric([each.stage], each.token_seconds)
    yield from (tokens, seconds)


def _of_the_last_round(welfare: Welfare) -> Iterator[Metric]:
    found = GaugeMetricFamily(
        "truthtune_last_round_welfare",
        "ASW of the grand world of the round settled last, in agent·reward units: of the initial "
        "model, of the tuned one, and the closed form's optimum on the pool.",
        labels=["model"],
    )
    for model, value in (
        ("initial", welfare.initial),
        ("tuned", welfare.tuned),
        ("optimum", welfare.optimum),
    ):
        found.add_metric([model], value)
    yield found
    yield GaugeMetricFamily(
        "truthtune_last_round_divergence",
        "How far its tuned model is from the initial one, by its regulariser.",
        value=welfare.divergence,
    )
    yield GaugeMetricFamily(
        "truthtune_last_round_settled_timestamp_seconds",
        "When it was settled, in seconds since 1970.",
        value=welfare.settled_at.timestamp(),
    )
