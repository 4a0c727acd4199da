"""Routes of the previews of a group's own report."""

from api_schemas.base import ListPage
from api_schemas.ids import PreviewId, RoundId, new_id
from api_schemas.jobs import PreviewJob
from api_schemas.previews import Preview, PreviewDeleted
from service import quotas
from service.auth import GroupMember, hmac_of
from service.bodies import StrictRoute
from service.dependencies import ReadSession, State, WriteSession
from service.errors import problem_responses
from service.idempotency import Idempotent
from service.jobs import queue
from service.pages import Page
from service.previews import repository
from service.previews.sealing import to_seal
from service.reports.sealing import Checked
from service.reports.taking import require_open
from service.rounds import repository as rounds
from service.routing import Router
from workers.artifacts import canonical_json

router = Router(tags=["reports"], route_class=StrictRoute)


@router.post(
    "/rounds/{round_id}/report/preview",
    status_code=202,
    summary="Preview your report",
    responses=problem_responses(404, 409),
)
def create_preview(
    round_id: RoundId,
    principal: GroupMember,
    checked: Checked,
    idempotent: Idempotent,
    state: State,
) -> Preview:
    """Queues a job that scores sample responses of the initial model with this report's reward
    model: a histogram, the best and the worst. Nothing is reported by it. Nobody but your group
    sees the preview or its job; both are stored encrypted. Group keys only."""
    session = idempotent.session

    def work() -> Preview:
        require_open(session, principal, round_id)
        quotas.require_job(session, state.settings, principal.owner_id)
        preview_id = new_id("prv")
        job_id = queue.enqueue(session, PreviewJob(preview_id=preview_id), principal.owner_id)
        content = to_seal(checked)
        return repository.add_preview(
            session, state.vault, principal, round_id, job_id, preview_id, content
        )

    # A plain digest of the request would let whoever reads the database test guesses of it.
    asked = canonical_json(checked.body.model_dump(mode="json")).decode()
    return idempotent.run({"hmac": hmac_of(asked, state.key_secret)}, Preview, work)


@router.get(
    "/rounds/{round_id}/report/previews",
    summary="List your previews in a round",
    responses=problem_responses(404),
)
def list_previews(
    round_id: RoundId, principal: GroupMember, session: ReadSession, page: Page
) -> ListPage[Preview]:
    """Your group's previews, newest first, without their results. Group keys only."""
    rounds.get_round(session, principal, round_id)
    return repository.list_previews(session, principal, round_id, page)


@router.get(
    "/report-previews/{preview_id}", summary="Show a preview", responses=problem_responses(404)
)
def get_preview(
    preview_id: PreviewId, principal: GroupMember, state: State, session: ReadSession
) -> Preview:
    """A preview of yours and, once its job has succeeded, what the report would say.
    Group keys only."""
    return repository.get_preview(session, state.vault, principal, preview_id)


@router.delete(
    "/report-previews/{preview_id}",
    summary="Delete a preview",
    responses=problem_responses(404, 409),
)
def delete_preview(
    preview_id: PreviewId, principal: GroupMember, session: WriteSession
) -> PreviewDeleted:
    """Forgets a preview of yours whose job has ended, with the key of its result.
    Group keys only."""
    repository.delete_preview(session, principal, preview_id)
    return PreviewDeleted(id=preview_id)
