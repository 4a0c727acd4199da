"""The end of an evaluation's job: its table becomes visible, all at once or not."""

from sqlalchemy.orm import Session

from api_schemas.evaluations import EvaluationResult
from api_schemas.jobs import EvaluationJobInput
from service.evaluations import repository
from service.jobs import leases


def publish_evaluation(
    session: Session, held: leases.Claim, result: EvaluationResult, result_digest: str
) -> None:
    """Write the result and end the job, in the caller's transaction; what it names is stored.

    Raises LeaseLost or CancelRequested if the job is no longer to be published.
    """
    assert isinstance(held.job, EvaluationJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    leases.begin_settlement(session, held)
    leases.finish_stage(session, held, "publish", result_digest)
    repository.add_result(session, held.job.evaluation_id, result)
    leases.succeed(session, held)
