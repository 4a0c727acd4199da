"""The end of a base model's job: rounds may start from it, or it stays unseen."""

from sqlalchemy.orm import Session

from api_schemas.fine_tuned_models import BaseModelResult
from api_schemas.jobs import BaseModelJobInput
from service.fine_tuned_models import repository
from service.jobs import leases


def publish_base_model(
    session: Session, held: leases.Claim, result: BaseModelResult, result_digest: str
) -> None:
    """Write the result and end the job, in the caller's transaction; what it names is stored.

    Raises LeaseLost or CancelRequested if the job is no longer to be published.
    """
    assert isinstance(held.job, BaseModelJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    leases.begin_settlement(session, held)
    leases.finish_stage(session, held, "publish", result_digest)
    repository.add_result(session, held.job.base_model_id, result)
    leases.succeed(session, held)
