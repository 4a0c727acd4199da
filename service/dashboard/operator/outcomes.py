"""What came of a settled round: valuations, payments, how far training fell short, and audits."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.audits import Audit
from api_schemas.base import ListPage
from api_schemas.certificates import Certificate
from api_schemas.jobs import Job
from api_schemas.outcomes import Outcome
from api_schemas.rounds import Round
from service.dashboard.api import Api, SessionApi
from service.dashboard.operator.names import group_names, world_name
from service.dashboard.pages import render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()


@router.get(f"{PATH}/rounds/{{round_id}}/outcome")
async def show_outcome(
    request: Request, session: SignedIn, api: SessionApi, round_id: str
) -> Response:
    found = await api.get(Round, f"/v1/rounds/{round_id}")
    outcome = await api.get(Outcome, f"/v1/rounds/{round_id}/outcome")
    certificate = await api.get(Certificate, f"/v1/rounds/{round_id}/certificate")
    audits = await api.get(ListPage[Audit], f"/v1/rounds/{round_id}/audits", limit=10)
    names = await group_names(api)
    return render(
        request,
        "operator/outcome.html",
        session,
        round=found,
        outcome=outcome,
        certificate=certificate,
        audits=audits.data,
        names=names,
        bars=_valuations(outcome, names),
        worlds=[(world_name(world.world, names), world) for world in outcome.worlds],
        unit="nats" if outcome.regularizer.type == "kl" else "units of L2",
        drew_drift=await _drew_drift(api, found),
    )


def _valuations(outcome: Outcome, names: dict[str, str]) -> dict[str, Any]:
    """Of the groups that took part: an excluded one has no valuation."""
    lines = [group for group in outcome.groups if group.excluded is None]
    return {
        "names": [names.get(group.group_id, group.group_id) for group in lines],
        "series": [
            {"label": "before, π₀", "values": [group.valuation_initial for group in lines]},
            {"label": "after", "values": [group.valuation for group in lines]},
        ],
    }


async def _drew_drift(api: Api, found: Round) -> bool:
    """Whether the round's training left its drawing; a method without steps draws none."""
    if found.job_id is None:
        return False
    job = await api.get(Job, f"/v1/jobs/{found.job_id}")
    return any(stage.name == "train" and stage.digest is not None for stage in job.stages)
