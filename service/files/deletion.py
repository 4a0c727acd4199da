"""Deleting a file: its row goes, and with it the quota it took.

Its bytes go with the store's garbage once no row names their digest: a settled round, say, still
has those of its reports. Whether a report names the file is sealed in the report. So a file stays
while its owner has any report whose round may yet be computed; only that owner is told so.
"""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.corpora import CorpusCreate
from api_schemas.errors import Conflict
from api_schemas.reward_models import PinnedInputs
from service.auth import Principal
from service.files import repository
from service.jobs import products
from service.tables import (
    CorpusRow,
    EvaluationRow,
    FileRow,
    FineTunedBaseModelRow,
    JobRow,
    PreviewRow,
    ReportRow,
    RewardModelRow,
    RoundRow,
)

_DONE_WITH = ("settled", "cancelled")


def delete_file(session: Session, principal: Principal, file_id: str) -> None:
    """Raises NotFound, and Conflict while something needs the file, naming it."""
    row = repository.lock_own_file(session, principal, file_id)
    needed_by = (
        _announced_round(session, row)
        or _unfinished_reward_model(session, row)
        or _unfinished_product(session, row)
        or _pending_report(session, row)
        or _unfinished_preview(session, row)
    )
    if needed_by is not None:
        raise Conflict(f"file {file_id} can't be deleted: {needed_by}", code="file_in_use")
    session.delete(row)


def _announced_round(session: Session, row: FileRow) -> str | None:
    named = RoundRow.announcement["prompts_file_id"].as_string() == row.id
    round_id = session.scalar(select(RoundRow.id).where(named).limit(1))
    return round_id and f"round {round_id} has announced its prompts"


def _unfinished_reward_model(session: Session, row: FileRow) -> str | None:
    """One that is made stands alone; one that failed may be tried again."""
    unmade = (
        select(RewardModelRow)
        .join(JobRow, JobRow.id == RewardModelRow.job_id)
        .where(RewardModelRow.owner_id == row.owner_id, JobRow.status != "succeeded")
    )
    for made in session.scalars(unmade):
        if row.id in PinnedInputs.model_validate(made.pinned).files:
            return f"reward model {made.id} is to be made from it"
    return None


def _unfinished_product(session: Session, row: FileRow) -> str | None:
    """Of a corpus, base model or evaluation that is made, or will never be, the result stands
    alone; one that failed may be tried again."""
    found = (each.id for each in _made_from(session, row.owner_id, row.id))
    return next((f"{id_} is to be made from it" for id_ in found), None)


def _made_from(
    session: Session, owner_id: str, file_id: str
) -> Iterator[CorpusRow | FineTunedBaseModelRow | EvaluationRow]:
    for corpus in products.unfinished(session, CorpusRow, owner_id):
        if file_id in _files_of(CorpusCreate.model_validate(corpus.settings)):
            yield corpus
    for model in products.unfinished(session, FineTunedBaseModelRow, owner_id):
        if model.settings["file_id"] == file_id:
            yield model
    for evaluation in products.unfinished(session, EvaluationRow, owner_id):
        if evaluation.settings["file_id"] == file_id:
            yield evaluation


def _files_of(settings: CorpusCreate) -> set[str | None]:
    optimized = settings.prompt_optimization
    pairs = optimized.pairs_file_id if optimized else None
    return {*settings.document_file_ids, settings.seed_questions_file_id, pairs}


def _pending_report(session: Session, row: FileRow) -> str | None:
    round_id = session.scalar(
        select(ReportRow.round_id)
        .join(RoundRow, RoundRow.id == ReportRow.round_id)
        .where(ReportRow.group_id == row.owner_id, RoundRow.state.not_in(_DONE_WITH))
        .limit(1)
    )
    return round_id and (
        f"you have a report in round {round_id}, which may name it: wait until the round is "
        "settled or cancelled, or withdraw the report before the close"
    )


def _unfinished_preview(session: Session, row: FileRow) -> str | None:
    """Sealed as a report is, so that any of the owner's may name the file."""
    preview_id = session.scalar(
        select(PreviewRow.id)
        .join(JobRow, JobRow.id == PreviewRow.job_id)
        .where(PreviewRow.group_id == row.owner_id, JobRow.status.in_(("queued", "running")))
        .limit(1)
    )
    return preview_id and (
        f"your preview {preview_id} may name it: wait until its job has ended, or cancel that"
    )
