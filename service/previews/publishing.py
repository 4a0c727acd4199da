"""The end of a preview's job: its result is stored as the worker sealed it."""

from sqlalchemy.orm import Session

from api_schemas.jobs import PreviewJobInput
from service.jobs import leases
from service.previews import repository


def publish_preview(
    session: Session, held: leases.Claim, sealed: bytes, result_digest: str
) -> None:
    """Write the sealed result and end the job, in the caller's transaction.

    Raises LeaseLost or CancelRequested if the job is no longer to be published.
    """
    assert isinstance(held.job, PreviewJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    with leases.settling(session, held, "publish", result_digest):
        repository.add_result(session, held.job.preview_id, sealed)
