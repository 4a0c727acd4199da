"""The end of a corpus's job: its result becomes visible, all at once or not."""

from sqlalchemy.orm import Session

from api_schemas.corpora import CorpusResult
from api_schemas.jobs import CorpusJobInput
from service.corpora import repository
from service.jobs import leases


def publish_corpus(
    session: Session, held: leases.Claim, result: CorpusResult, result_digest: str
) -> None:
    """Write the result and end the job, in the caller's transaction; what it names is stored.

    Raises LeaseLost or CancelRequested if the job is no longer to be published.
    """
    assert isinstance(held.job, CorpusJobInput), f"job {held.job_id} is a {held.job.kind}'s"
    leases.begin_settlement(session, held)
    leases.finish_stage(session, held, "publish", result_digest)
    repository.add_result(session, held.job.corpus_id, result)
    leases.succeed(session, held)
