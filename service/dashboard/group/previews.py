"""What a report would say of sample responses, shown to its author before it counts."""

from itertools import pairwise

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.ids import PreviewId, RoundId
from api_schemas.jobs import Job
from api_schemas.previews import Histogram, Preview
from service.dashboard.api import SessionApi
from service.dashboard.pages import STOP_POLLING, is_fragment, render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()


@router.get(f"{PATH}/rounds/{{round_id}}/report/previews/{{preview_id}}")
async def show_preview(
    request: Request, session: SignedIn, api: SessionApi, round_id: RoundId, preview_id: PreviewId
) -> Response:
    preview = await api.get(Preview, f"/v1/report-previews/{preview_id}")
    pending = preview.status in ("queued", "running")
    template = "group/preview_part.html" if is_fragment(request) else "group/preview.html"
    status = STOP_POLLING if is_fragment(request) and not pending else 200
    scored = preview.result.scored if preview.result else None
    failed = preview.status == "failed"
    job = await api.get(Job, f"/v1/jobs/{preview.job_id}") if failed else None
    return render(
        request,
        template,
        session,
        status,
        preview=preview,
        pending=pending,
        bins=names_of_bins(scored.histogram) if scored else [],
        failure=job.error if job else None,
    )


def names_of_bins(histogram: Histogram) -> list[str]:
    """`0.00 to 0.05`, …"""
    return [f"{low:.2f} to {high:.2f}" for low, high in pairwise(histogram.edges)]
