"""The end of a quote's job: its result becomes visible, all at once or not."""

from sqlalchemy.orm import Session

from api_schemas.jobs import QuoteJobInput
from api_schemas.quotes import QuoteResult
from service.jobs import leases
from service.quotes import repository


def publish_quote(
    session: Session, held: leases.Claim, result: QuoteResult, result_digest: str
) -> None:
    """Write the result and end the job, in the caller's transaction; the round stays as it is.

    Raises LeaseLost or CancelRequested if the job is no longer to be published.
    """
    assert isinstance(held.job, QuoteJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    with leases.settling(session, held, "publish", result_digest):
        repository.add_result(session, held.job.quote_id, result)
