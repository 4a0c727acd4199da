"""From a request to a quote that waits for its job."""

from sqlalchemy.orm import Session

from api_schemas.errors import Conflict, InvalidInput
from api_schemas.ids import new_id
from api_schemas.jobs import QuoteJobInput
from api_schemas.quotes import MAX_GROUPS, Quote, QuoteCreate
from api_schemas.rounds import Announcement
from service.auth import Principal
from service.groups.repository import count_groups
from service.jobs import queue
from service.quotes import repository
from service.rounds import repository as rounds

_BEFORE_IT_RUNS = ("draft", "open", "closed")


def request_quote(
    session: Session, principal: Principal, round_id: str, settings: QuoteCreate
) -> Quote:
    """Raises NotFound, Conflict once the round has run, or will never, and InvalidInput (`groups`).

    Unless the operator names a number, all registered groups are taken to report: how many did is
    not asked, before the close or after.
    """
    row = rounds.lock_round(session, principal, round_id)
    if row.state not in _BEFORE_IT_RUNS:
        raise Conflict(
            f"round {round_id} is {row.state}; a quote is for a round that has not run yet",
            code="not_quotable",
        )
    job = QuoteJobInput(
        quote_id=new_id("quo"),
        round_id=round_id,
        announcement=Announcement.model_validate(row.announcement),
        settings=settings,
        groups=settings.groups or _registered(session),
    )
    job_id = queue.enqueue(session, job)
    return repository.add_quote(session, job_id, job)


def _registered(session: Session) -> int:
    """As many groups as can report; one, where nobody is registered yet."""
    count = count_groups(session)
    if count > MAX_GROUPS:
        raise InvalidInput(
            f"{count} groups are registered, and a quote is for {MAX_GROUPS} at most: say for how "
            "many in groups",
            param="groups",
        )
    return max(1, count)
