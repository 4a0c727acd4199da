"""How long the artifacts of a job's stages are kept once the job has ended."""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.database import database_now
from service.jobs.repository import FINISHED
from service.tables import JobRow, JobStageRow


def expire_stages(session: Session, days: float) -> int:
    """Let go of what the stages of jobs left that ended more than `days` ago; gives how many.

    The rows say so themselves, so that none names what a collection may remove. A job that is tried
    again runs such a stage again. The outcome, the models, their files and the pool of a settled
    round stay: other rows name them.
    """
    ended_before = database_now(session) - timedelta(days=days)
    ended = select(JobRow.id).where(JobRow.status.in_(FINISHED), JobRow.finished_at < ended_before)
    expired = (
        update(JobStageRow)
        .where(
            JobStageRow.job_id.in_(ended),
            JobStageRow.digest.is_not(None),
            JobStageRow.stage.not_in(("settle", "publish")),
        )
        .values(digest=None)
        .returning(JobStageRow.job_id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(expired).all())
