"""Closed rounds with queued jobs, written past the API, and the outcomes of such jobs."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from support import VAULT, report_body

from api_schemas.amounts import payment_micro_units
from api_schemas.audits import AuditCreate, Audited, AuditLine, AuditResult
from api_schemas.ids import new_id
from api_schemas.jobs import JobInput, ReportInput
from api_schemas.models import ModelFile
from api_schemas.outcomes import (
    GroupOutcome,
    IncentiveCertificate,
    Outcome,
    Valued,
    WorldOutcome,
)
from api_schemas.reports import ReportPut
from api_schemas.reward_models import PinnedInputs
from api_schemas.rounds import Announcement
from service.audits import publishing, requesting
from service.auth import Principal
from service.database import Database, database_now
from service.dependencies import AppState
from service.jobs import leases
from service.ledger import posting
from service.models.archive import build_archive
from service.reports.sealing import CheckedReport, seal, to_seal
from service.rounds import lifecycle
from service.rounds.repository import add_round
from service.tables import GroupRow, JobEventRow, JobRow, ReportRow, RoundRow
from workers.artifacts import ArtifactStore, sha256_of

DIGEST = sha256_of(b"some bytes")
ARCHIVE = ModelFile(name="adapter.zip", bytes=1, sha256=DIGEST)
PLOT = b'<svg xmlns="http://www.w3.org/2000/svg"><title>utility</title></svg>'
OPERATOR = Principal(key_id="key_" + "0" * 26, scope="operator", group_id=None)
LEASE_SECONDS = 30.0
PRICE = 1_000_000


def announcement(**changes: Any) -> Announcement:
    fields = {
        "name": "A round",
        "base_model": "tiny-enumerable",
        "prompts_file_id": "file_" + "0" * 26,
        "regularizer": {"coefficient": 1.0},
        "max_group_size": 10,
        "price_per_unit_micro_units": PRICE,
        "base_model_revision": DIGEST,
        "prompts_sha256": DIGEST,
    }
    return Announcement.model_validate(fields | changes)


def add_groups(session: Session, count: int) -> list[str]:
    ids = sorted(new_id("grp") for _ in range(count))
    now = database_now(session)
    session.add_all(GroupRow(id=id_, name=f"group {id_}", created_at=now) for id_ in ids)
    session.flush()
    return ids


def add_closed_round(session: Session, group_ids: list[str], **changes: Any) -> str:
    """A closed round in which group i of `group_ids` reported the size i + 1; gives its id."""
    round_ = add_round(session, announcement(**changes), database_now(session))
    session.flush()
    session.add_all(_report(session, round_.id, id_, i + 1) for i, id_ in enumerate(group_ids))
    session.flush()
    row = session.get_one(RoundRow, round_.id)
    lifecycle.open_for_reports(session, row)
    lifecycle.close(session, row)
    return round_.id


def queue_job(database: Database, group_ids: list[str] | None = None, **changes: Any) -> str:
    """The id of the job of a new closed round, of three new groups unless others are named."""
    with database.write() as session:
        round_id = add_closed_round(session, group_ids or add_groups(session, 3), **changes)
        return session.scalars(select(JobRow.id).where(JobRow.round_id == round_id)).one()


def claim(
    database: Database, owner: str = "first", lease_seconds: float = LEASE_SECONDS
) -> leases.Claim:
    with database.write() as session:
        held = leases.claim(session, VAULT, owner, lease_seconds, max_attempts=3)
    assert held is not None
    return held


def let_leases_expire(database: Database) -> None:
    with database.write() as session:
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(JobRow).values(lease_expires_at=past))


def valued(
    job: JobInput,
    payments: Mapping[str, float] | None = None,
    excluded: Mapping[str, str] | None = None,
    files: list[ModelFile] | None = None,
) -> Valued:
    """An outcome of the job; each group pays 0.5 unless `payments` says another amount."""
    payments, excluded = payments or {}, excluded or {}
    groups = [
        _excluded(report, excluded[report.group_id])
        if report.group_id in excluded
        else _line(report, payments.get(report.group_id, 0.5), job.announcement)
        for report in job.reports
    ]
    outcome = Outcome(
        round_id=job.round_id,
        announcement_digest=job.announcement_digest,
        counterfactuals=job.announcement.counterfactuals,
        payment_rule=job.announcement.payment_rule,
        regularizer=job.announcement.regularizer,
        value_on=job.announcement.value_on,
        pool_prompts=2,
        pool_samples_per_prompt=4,
        price_per_unit_micro_units=job.announcement.price_per_unit_micro_units,
        currency=job.announcement.currency,
        worlds=[_world(None)] + [_world(group.group_id) for group in groups if not group.excluded],
        groups=groups,
        certificate=IncentiveCertificate(
            guarantee="none", figures="none", largest_gain=0.0, largest_gain_micro_units=0
        ),
        fresh=None,
        delivered=_world(None),
        warnings=[],
        pool_digest=DIGEST,
        adapter_digest=DIGEST,
    )
    return Valued(outcome=outcome, adapter_files=files or [])


def event_types(database: Database, job_id: str) -> list[str]:
    with database.read() as session:
        return list(
            session.scalars(
                select(JobEventRow.type)
                .where(JobEventRow.job_id == job_id)
                .order_by(JobEventRow.sequence)
            )
        )


def store_adapter(artifacts: ArtifactStore) -> list[ModelFile]:
    contents = {"adapter_config.json": b'{"r": 16}', "adapter_model.safetensors": b"\x00" * 3000}
    return [
        ModelFile(name=name, bytes=len(data), sha256=artifacts.put(data))
        for name, data in contents.items()
    ]


def settle_next(
    state: AppState,
    payments: Mapping[str, float] | None = None,
    excluded: Mapping[str, str] | None = None,
) -> leases.Claim:
    """Claim the oldest job and settle it with the outcome that `valued` makes."""
    held = claim(state.database)
    files = store_adapter(state.artifacts)
    archive = build_archive(state.artifacts, files)
    settle(state.database, held, valued(held.job, payments, excluded, files), archive)
    return held


def settle(
    database: Database, held: leases.Claim, found: Valued, archive: ModelFile = ARCHIVE
) -> None:
    with database.write() as session:
        leases.start_stage(session, held, "settle")
        posting.settle(session, VAULT, held, found, archive, DIGEST)


def settled_round(state: AppState, group_ids: list[str] | None = None) -> str:
    """The id of a new settled round, of three new groups unless others are named."""
    queue_job(state.database, group_ids)
    return settle_next(state).job.round_id


def queue_audit(database: Database, round_id: str, **settings: Any) -> str:
    """The id of the job of a new audit; its claim must be the next."""
    with database.write() as session:
        asked = AuditCreate.model_validate(settings)
        return requesting.request_audit(session, OPERATOR, round_id, asked).job_id


def publish(state: AppState, held: leases.Claim, found: Audited | None = None) -> Audited:
    """End an audit's job with what `audited` makes, or with another result."""
    found = found or audited(held.job, state.artifacts)
    digest = state.artifacts.put_json(found.result.model_dump(mode="json"))
    with state.database.write() as session:
        leases.start_stage(session, held, "publish")
        publishing.publish(session, held, found, digest)
    return found


def audited(job: JobInput, artifacts: ArtifactStore, **gains: float | None) -> Audited:
    """Each group inflates its size once and loses 0.25 by it, where it would gain 1 unpaid."""
    truth = [_audit_line(report, "truth", 0.0, 0.0) for report in job.reports]
    misreports = [_audit_line(report, "inflate", -0.25, 1.0) for report in job.reports]
    largest = {
        "largest_gain": -0.25,
        "largest_gain_without_payments": 1.0,
        "largest_gain_retrained": None,
    }
    result = AuditResult(truth=truth, misreports=misreports, retrained=[], **(largest | gains))
    return Audited(result=result, plot_sha256=artifacts.put(PLOT))


def _audit_line(report: ReportInput, strategy: str, gain: float, unpaid: float) -> AuditLine:
    return AuditLine.model_validate(
        {
            "group_id": report.group_id,
            "strategy": strategy,
            "parameter": 1.0 if strategy == "truth" else 2.0,
            "reported_size": report.size if strategy == "truth" else 2 * report.size,
            "valuation": 0.75,
            "payment": 0.5,
            "utility": report.size * 0.75 - 0.5 + gain,
            "utility_without_payments": report.size * 0.75 + unpaid,
            "gain": gain,
            "gain_without_payments": unpaid,
        }
    )


def _report(session: Session, round_id: str, group_id: str, size: int) -> ReportRow:
    body = ReportPut.model_validate(report_body(size))
    content = to_seal(CheckedReport(body, None, PinnedInputs()))
    return ReportRow(
        id=new_id("rep"),
        round_id=round_id,
        group_id=group_id,
        sealed=seal(VAULT, round_id, group_id, content),
        commitment=content.commitment(round_id, group_id),
        submitted_at=database_now(session),
    )


def _line(report: ReportInput, payment: float, announced: Announcement) -> GroupOutcome:
    return GroupOutcome(
        group_id=report.group_id,
        size=report.size,
        excluded=None,
        valuation_initial=0.25,
        valuation=0.75,
        others_welfare_without=1.0 + payment,
        others_welfare_with=1.0,
        payment=payment,
        amount_micro_units=payment_micro_units(payment, announced.price_per_unit_micro_units),
        utility=report.size * 0.75 - payment,
        clipped_share=0.0,
    )


def _excluded(report: ReportInput, reason: str) -> GroupOutcome:
    return GroupOutcome(
        group_id=report.group_id,
        size=report.size,
        excluded=reason,
        valuation_initial=None,
        valuation=None,
        others_welfare_without=None,
        others_welfare_with=None,
        payment=None,
        amount_micro_units=None,
        utility=None,
        clipped_share=None,
    )


def _world(without: str | None) -> WorldOutcome:
    return WorldOutcome(
        world="grand" if without is None else f"without:{without}",
        without_group_id=without,
        chosen="pool_optimum",
        welfare_initial=1.0,
        welfare=2.0,
        welfare_optimum=2.0,
        optimality_gap=0.0,
        divergence=0.125,
        divergence_optimum=0.125,
        effective_samples_mean=3.0,
        effective_samples_minimum=2.0,
        low_support_prompts=0,
        support_ratio=0.1,
    )
