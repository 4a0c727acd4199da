"""SQL of previews. Every query is scoped to the group; nobody else sees any."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defer

from api_schemas.base import ListPage
from api_schemas.errors import Conflict, NotFound
from api_schemas.jobs import PreviewJobInput, ReportInput
from api_schemas.previews import Preview, PreviewResult
from api_schemas.rounds import Announcement
from service.auth import Principal
from service.database import database_now
from service.jobs.repository import FINISHED
from service.pages import PageQuery, fetch_rows, to_page
from service.previews.sealing import SealedPreview, seal, unseal, unseal_result
from service.tables import JobRow, PreviewRow, RoundRow
from service.vault import Vault
from workers.artifacts import canonical_json, sha256_of


def add_preview(
    session: Session,
    vault: Vault,
    principal: Principal,
    round_id: str,
    job_id: str,
    preview_id: str,
    content: SealedPreview,
) -> Preview:
    row = PreviewRow(
        id=preview_id,
        round_id=round_id,
        group_id=principal.owner_id,
        job_id=job_id,
        sealed=seal(vault, preview_id, principal.owner_id, content),
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    return _preview(session, row, None)


def add_result(session: Session, preview_id: str, sealed: bytes) -> None:
    session.get_one(PreviewRow, preview_id).sealed_result = sealed


def list_previews(
    session: Session, principal: Principal, round_id: str, page: PageQuery
) -> ListPage[Preview]:
    """The group's own in a round, newest first, without results."""
    own = _own(principal).where(PreviewRow.round_id == round_id)
    columns = defer(PreviewRow.sealed), defer(PreviewRow.sealed_result)
    rows, has_more = fetch_rows(session, own.options(*columns), page, id_column=PreviewRow.id)
    return to_page([_preview(session, row, None) for row in rows], has_more)


def get_preview(session: Session, vault: Vault, principal: Principal, preview_id: str) -> Preview:
    """Raises NotFound, or DamagedSeal."""
    row = _found(session, principal, preview_id)
    return _preview(session, row, unseal_result(vault, row))


def delete_preview(session: Session, principal: Principal, preview_id: str) -> None:
    """Raises NotFound, and Conflict until the preview's job has ended."""
    row = _found(session, principal, preview_id)
    job = session.scalars(select(JobRow).where(JobRow.id == row.job_id).with_for_update()).one()
    if job.status not in FINISHED:
        raise Conflict(
            f"preview {preview_id} can't be deleted: its job {job.id} is {job.status}; cancel it, "
            "or wait for its end",
            code="preview_not_finished",
        )
    session.delete(row)


def job_input(session: Session, vault: Vault, preview_id: str) -> PreviewJobInput | None:
    """What the workers get; None if the preview was deleted. Raises DamagedSeal."""
    row = session.get(PreviewRow, preview_id)
    if row is None:
        return None
    content = unseal(vault, row)
    reported = content.report.model_dump(mode="json")
    announced = session.get_one(RoundRow, row.round_id).announcement
    return PreviewJobInput(
        preview_id=preview_id,
        announcement=Announcement.model_validate(announced),
        report=ReportInput(
            group_id=row.group_id,
            size=content.report.size,
            reward_model=content.report.reward_model,
            report_digest=sha256_of(canonical_json(reported)),
            pinned=content.pinned,
        ),
        probe=content.probe,
        result_key=content.result_key,
    )


def _own(principal: Principal) -> Select[PreviewRow]:
    return select(PreviewRow).where(PreviewRow.group_id == principal.owner_id)


def _found(session: Session, principal: Principal, preview_id: str) -> PreviewRow:
    row = session.scalar(_own(principal).where(PreviewRow.id == preview_id))
    if row is None:
        raise NotFound(f"there is no preview {preview_id}")
    return row


def _preview(session: Session, row: PreviewRow, result: PreviewResult | None) -> Preview:
    return Preview.model_validate(
        {
            "id": row.id,
            "round_id": row.round_id,
            "job_id": row.job_id,
            "status": session.get_one(JobRow, row.job_id).status,
            "result": result,
            "created_at": row.created_at,
        }
    )
