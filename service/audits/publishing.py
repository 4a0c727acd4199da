"""The end of an audit's job: its result becomes visible, all at once or not."""

from sqlalchemy.orm import Session

from api_schemas.audits import Audited
from service import audit
from service.audits import repository
from service.jobs import leases


def publish(session: Session, held: leases.Claim, audited: Audited, result_digest: str) -> None:
    """Write the result and end the job, in the caller's transaction; the round stays as it is.

    `result_digest` and the plot name artifacts made before. Raises LeaseLost or CancelRequested if
    the job is no longer to be published.
    """
    assert held.round_job.audit is not None, f"job {held.job_id} is no audit's"
    audit_id = held.round_job.audit.audit_id
    with leases.settling(session, held, "publish", result_digest):
        repository.add_result(session, audit_id, audited, result_digest)
    audit.record(session, "coordinator", "audit.published", audit_id)
