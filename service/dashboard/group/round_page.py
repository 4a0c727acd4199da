"""A round as a group sees it: what was announced, how far it is, and what came out of it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.certificates import Certificate
from api_schemas.files import File
from api_schemas.ids import RoundId
from api_schemas.jobs import Job
from api_schemas.ledger import Invoice
from api_schemas.outcomes import Outcome
from api_schemas.rounds import Round
from service.dashboard.api import Api, SessionApi
from service.dashboard.forwarding import Forwarded
from service.dashboard.group.report import find_report
from service.dashboard.group.words import COUNTERFACTUALS, STAGES
from service.dashboard.pages import is_fragment, load_again, render
from service.dashboard.sessions import PATH, Session, SignedIn

router = APIRouter(prefix=f"{PATH}/rounds/{{round_id}}")
_FINISHED = ("succeeded", "failed", "cancelled")


async def show(request: Request, session: Session, api: Api, round_id: str) -> Response:
    round_ = await api.get(Round, f"/v1/rounds/{round_id}")
    report = await find_report(api, round_id)
    outcome = await _outcome(api, round_) if report else None
    job = await api.get(Job, f"/v1/jobs/{round_.job_id}") if round_.job_id else None
    return render(
        request,
        "group/round.html",
        session,
        round=round_,
        report=report,
        outcome=outcome,
        own=_own_line(outcome, session),
        invoice=await _invoice(api, round_id) if outcome else None,
        job=job,
        stages=STAGES,
        counterfactuals=COUNTERFACTUALS[round_.announcement.counterfactuals],
    )


@router.get("/progress")
async def show_progress(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId
) -> Response:
    """The stages of the round's job; once it has ended, the whole page is loaded again."""
    round_ = await api.get(Round, f"/v1/rounds/{round_id}")
    job = await api.get(Job, f"/v1/jobs/{round_.job_id}") if round_.job_id else None
    if is_fragment(request) and (job is None or job.status in _FINISHED):
        return load_again()
    return render(request, "group/progress.html", session, job=job, stages=STAGES)


@router.get("/round.json")
async def download_round(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId
) -> Response:
    """With its announcement and commitment root, which a check of the receipt needs."""
    await api.get(Round, f"/v1/rounds/{round_id}")
    return Forwarded(request, session, f"/v1/rounds/{round_id}", filename=f"{round_id}.json")


@router.get("/certificate.json")
async def download_certificate(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId
) -> Response:
    path = f"/v1/rounds/{round_id}/certificate"
    await api.get(Certificate, path)
    return Forwarded(request, session, path, filename=f"{round_id}-certificate.json")


@router.get("/prompts.jsonl")
async def download_prompts(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId
) -> Response:
    """Everyone may read what the model is tuned on, before reporting what to like of it."""
    round_ = await api.get(Round, f"/v1/rounds/{round_id}")
    path = f"/v1/files/{round_.announcement.prompts_file_id}"
    await api.get(File, path)
    return Forwarded(request, session, f"{path}/content", filename=f"{round_id}-prompts.jsonl")


async def _outcome(api: Api, round_: Round) -> Outcome | None:
    """Not every round that a group reported in came to one."""
    if round_.state != "settled":
        return None
    return await api.get(Outcome, f"/v1/rounds/{round_.id}/outcome")


def _own_line(outcome: Outcome | None, session: Session) -> object:
    if outcome is None:
        return None
    return next(line for line in outcome.groups if line.group_id == session.key.group_id)


async def _invoice(api: Api, round_id: str) -> Invoice | None:
    """None for a group that was excluded, and until the operator opens it."""
    found = await api.get(ListPage[Invoice], "/v1/invoices", round_id=round_id, limit=1)
    return found.data[0] if found.data else None
