"""Routes of quotes."""

from api_schemas.base import ListPage
from api_schemas.ids import QuoteId, RoundId
from api_schemas.quotes import Quote, QuoteCreate
from service import audit
from service.auth import Operator
from service.bodies import StrictRoute
from service.dependencies import ReadSession
from service.errors import problem_responses
from service.idempotency import Idempotent
from service.pages import Page
from service.quotes import repository
from service.quotes.requesting import request_quote
from service.routing import Router

router = Router(tags=["quotes"], route_class=StrictRoute)


@router.post(
    "/rounds/{round_id}/quote",
    status_code=202,
    summary="Quote a round",
    responses=problem_responses(404, 409),
)
def create_quote(
    round_id: RoundId, principal: Operator, body: QuoteCreate, idempotent: Idempotent
) -> Quote:
    """Queues a job that runs a little of every stage on the cluster and extrapolates: time, device
    hours, storage. For a round that has not run yet; how many groups report is assumed, never
    looked up. Operator only."""

    def work() -> Quote:
        made = request_quote(idempotent.session, principal, round_id, body)
        audit.record(idempotent.session, principal, "quote.created", made.id)
        return made

    return idempotent.run(body.model_dump(mode="json"), Quote, work)


@router.get(
    "/rounds/{round_id}/quotes", summary="List a round's quotes", responses=problem_responses(404)
)
def list_quotes(
    round_id: RoundId, principal: Operator, session: ReadSession, page: Page
) -> ListPage[Quote]:
    """The quotes of a round, newest first, without their results. Operator only."""
    return repository.list_quotes(session, principal, round_id, page)


@router.get("/quotes/{quote_id}", summary="Show a quote", responses=problem_responses(404))
def get_quote(quote_id: QuoteId, principal: Operator, session: ReadSession) -> Quote:
    """A quote and, once its job has succeeded, its figures, each with its range and the formula.
    Operator only."""
    return repository.get_quote(session, quote_id)
