"""What becomes of a job whose attempt failed by a fault of machines: later, perhaps elsewhere, it
may work, and if it never does, the job ends under the fault's name."""

from sqlalchemy.orm import Session

from api_schemas.jobs import ProgressEvent
from api_schemas.rounds import RoundFailure
from service.failures import INTERNAL_ERROR, Failure, name_failure
from service.jobs import leases

_LONGEST_BACKOFF_SECONDS = 60.0


def end_attempt(session: Session, held: leases.Claim, error: Exception, max_attempts: int) -> None:
    """Give the job back for a later attempt, or end it if this was the last. Raises LeaseLost.

    What has no name of its own ends as `too_many_attempts`, by the next to claim it.
    """
    failure = name_failure(error)
    if held.attempt >= max_attempts and failure is not INTERNAL_ERROR:
        leases.fail(session, held, _final(failure, held.attempt))
        return
    delay = min(2.0**held.attempt, _LONGEST_BACKOFF_SECONDS)
    leases.record(session, held, _event(held, error, failure, delay))
    leases.release(session, held, delay, counts=True)


def _event(held: leases.Claim, error: Exception, failure: Failure, delay: float) -> ProgressEvent:
    return ProgressEvent(
        type="warning",
        level="error",
        message=f"attempt {held.attempt} failed with {type(error).__name__}: {failure.message}. "
        f"The coordinator's log has the details. The next one starts in {delay:.0f} s",
        data={"attempt": held.attempt, "delay_seconds": delay, "code": failure.code},
    )


def _final(failure: Failure, attempts: int) -> RoundFailure:
    return RoundFailure(
        code=failure.code,
        message=f"{failure.message}; so ended the last of {attempts} attempts. Mend that, and "
        "retry the job: the stages that it finished stay finished",
    )
