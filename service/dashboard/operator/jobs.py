"""A job as it goes: stages, worlds, curves and log, looked at again every few seconds."""

from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.errors import Problem
from api_schemas.jobs import Job, JobEvent
from api_schemas.rounds import Round
from service.dashboard.api import Api, Refused, SessionApi
from service.dashboard.operator.curves import chart, curves_of, newest_events
from service.dashboard.operator.names import group_names, world_name
from service.dashboard.pages import go_to, load_again, render
from service.dashboard.sessions import PATH, CheckedForm, Session, SignedIn

router = APIRouter()
UNFINISHED = frozenset({"queued", "running"})
_LOGGED = 200
_EVERY_SECONDS = 2
_READ_LIVE, _READ_ENDED = 1_000, 10_000
"""Events at most, the newest: a job at work is looked at again and again, one that ended once."""


@router.get(f"{PATH}/jobs/{{job_id}}")
async def show_job(request: Request, session: SignedIn, api: SessionApi, job_id: str) -> Response:
    return await _page(request, session, api, job_id, None)


@router.get(f"{PATH}/jobs/{{job_id}}/live")
async def show_progress(
    request: Request, session: SignedIn, api: SessionApi, job_id: str
) -> Response:
    """The part of the page that is polled. Of a job that has ended the whole page is loaded again,
    which polls no more."""
    job = await api.get(Job, f"/v1/jobs/{job_id}")
    if job.status not in UNFINISHED:
        return load_again()
    return render(request, "operator/job_progress.html", session, **await _progress(api, job))


@router.get(f"{PATH}/jobs/{{job_id}}/stages")
async def show_stages(
    request: Request, session: SignedIn, api: SessionApi, job_id: str
) -> Response:
    """The same for the round's page, which shows the stages alone."""
    job = await api.get(Job, f"/v1/jobs/{job_id}")
    if job.status not in UNFINISHED:
        return load_again()
    return render(request, "operator/stages.html", session, job=job)


@router.post(f"{PATH}/jobs/{{job_id}}/{{deed}}")
async def do(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    form: CheckedForm,
    job_id: str,
    deed: Literal["cancel", "retry"],
) -> Response:
    try:
        await api.post(Job, f"/v1/jobs/{job_id}/{deed}")
    except Refused as refused:
        if refused.problem.status != 409:
            raise
        return await _page(request, session, api, job_id, refused.problem)
    return go_to(f"{PATH}/jobs/{job_id}")


async def _page(
    request: Request, session: Session, api: Api, job_id: str, problem: Problem | None
) -> Response:
    job = await api.get(Job, f"/v1/jobs/{job_id}")
    found = await api.get(Round, f"/v1/rounds/{job.round_id}") if job.round_id else None
    return render(
        request,
        "operator/job.html",
        session,
        HTTPStatus.OK if problem is None else problem.status,
        problem=problem,
        round=found,
        **await _progress(api, job),
    )


async def _progress(api: Api, job: Job) -> dict[str, Any]:
    live = job.status in UNFINISHED
    events = await newest_events(api, job.id, _READ_LIVE if live else _READ_ENDED)
    total = events[-1].sequence if events else 0
    found = curves_of(events)
    names = await group_names(api) if found.last else {}
    return {
        "job": job,
        "live": live,
        "every_seconds": _EVERY_SECONDS,
        "worlds": {world_name(world, names): seen for world, seen in found.last.items()},
        "latest": _latest(found.welfare, found.divergence, names),
        "welfare": chart(found.welfare, names),
        "divergence": chart(found.divergence, names),
        "held_out": chart(found.held_out, names),
        "doing": _doing(events),
        "log": events[-_LOGGED:][::-1],
        "left_out": max(0, total - _LOGGED),
        "told": total,
        "unread": total - len(events),
    }


def _latest(
    welfare: dict[str, dict[int, float | None]],
    divergence: dict[str, dict[int, float | None]],
    names: dict[str, str],
) -> dict[str, tuple[float | None, float | None]]:
    return {
        world_name(world, names): (points[max(points)], divergence[world][max(points)])
        for world, points in welfare.items()
    }


def _doing(events: list[JobEvent]) -> dict[str, Any] | None:
    """How far the stage at work is, where it tells: `done` of `total` `unit`."""
    for event in reversed(events):
        data = event.data
        if event.type in ("stage_started", "stage_finished"):
            return None
        if event.type == "stage_progress" and data.get("total"):
            keys = ("stage", "done", "total", "unit")
            return {key: data.get(key) for key in keys}
        if event.type == "training_step" and data.get("steps"):
            step, steps = data["step"], data["steps"]
            return {"stage": data.get("stage"), "done": step, "total": steps, "unit": "steps"}
    return None
