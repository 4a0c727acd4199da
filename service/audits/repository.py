"""SQL of audits. Only the operator's routes lead here."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from api_schemas.audits import Audit, AuditCreate, Audited
from api_schemas.base import ListPage
from api_schemas.certificates import AuditedGains
from api_schemas.errors import Conflict, NotFound
from service.auth import Principal
from service.database import database_now
from service.pages import PageQuery, fetch_rows, to_page
from service.rounds import repository as rounds
from service.tables import IncentiveAuditRow, JobRow, RoundRow


def add_audit(
    session: Session, audit_id: str, round_id: str, job_id: str, settings: AuditCreate
) -> Audit:
    row = IncentiveAuditRow(
        id=audit_id,
        round_id=round_id,
        job_id=job_id,
        settings=settings.model_dump(mode="json"),
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    return _audit(session, row, with_result=True)


def add_result(session: Session, audit_id: str, audited: Audited, result_digest: str) -> None:
    """`result_digest` is that of the result's canonical JSON, which is in the artifact store."""
    row = session.get_one(IncentiveAuditRow, audit_id)
    row.result = audited.result.model_dump(mode="json")
    row.result_digest = result_digest
    row.plot_digest = audited.plot_sha256
    row.largest_gain = audited.result.largest_gain
    row.largest_gain_without_payments = audited.result.largest_gain_without_payments
    row.largest_gain_retrained = audited.result.largest_gain_retrained


def list_audits(
    session: Session, principal: Principal, round_id: str, page: PageQuery
) -> ListPage[Audit]:
    """Newest first, without results. Raises NotFound for an unknown round."""
    rounds.get_round(session, principal, round_id)
    of_round = select(IncentiveAuditRow).where(IncentiveAuditRow.round_id == round_id)
    rows, has_more = fetch_rows(
        session,
        of_round.options(defer(IncentiveAuditRow.result)),
        page,
        id_column=IncentiveAuditRow.id,
    )
    return to_page([_audit(session, row, with_result=False) for row in rows], has_more)


def get_audit(session: Session, audit_id: str) -> Audit:
    return _audit(session, _found(session, audit_id), with_result=True)


def plot_digest(session: Session, audit_id: str) -> str:
    """Raises NotFound, and Conflict until the audit's job has succeeded."""
    row = _found(session, audit_id)
    if row.plot_digest is None:
        status = session.get_one(JobRow, row.job_id).status
        raise Conflict(
            f"audit {audit_id} has no plot: its job {row.job_id} is {status}",
            code="audit_not_finished",
        )
    return row.plot_digest


def audited_gains(session: Session, round_id: str) -> AuditedGains | None:
    """Over all finished audits of the round; None if there is none."""
    count, gain, without_payments, retrained = session.execute(
        select(
            func.count(),
            func.max(IncentiveAuditRow.largest_gain),
            func.max(IncentiveAuditRow.largest_gain_without_payments),
            func.max(IncentiveAuditRow.largest_gain_retrained),
        ).where(
            IncentiveAuditRow.round_id == round_id, IncentiveAuditRow.result_digest.is_not(None)
        )
    ).one()
    if not count:
        return None
    return AuditedGains(
        audits=count,
        largest_gain=gain,
        largest_gain_without_payments=without_payments,
        largest_gain_retrained=retrained,
    )


def _found(session: Session, audit_id: str) -> IncentiveAuditRow:
    row = session.get(IncentiveAuditRow, audit_id)
    if row is None:
        raise NotFound(f"there is no audit {audit_id}")
    return row


def _audit(session: Session, row: IncentiveAuditRow, *, with_result: bool) -> Audit:
    round_row = session.get_one(RoundRow, row.round_id)
    return Audit.model_validate(
        {
            "id": row.id,
            "round_id": row.round_id,
            "job_id": row.job_id,
            "settings": row.settings,
            "payment_rule": round_row.announcement["payment_rule"],
            "result": row.result if with_result else None,
            "result_digest": row.result_digest,
            "plot_digest": row.plot_digest,
            "created_at": row.created_at,
        }
    )
