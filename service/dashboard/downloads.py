"""Files and drawings for a browser, streamed from the API with the session's key."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.dashboard.forwarding import Forwarded
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()


@router.get(f"{PATH}/models/{{model_id}}/adapter.zip")
def download_model(request: Request, session: SignedIn, model_id: str) -> Response:
    return Forwarded(request, session, f"/v1/models/{model_id}/adapter.zip")


@router.get(f"{PATH}/models/{{model_id}}/files/{{name}}")
def download_model_file(request: Request, session: SignedIn, model_id: str, name: str) -> Response:
    return Forwarded(request, session, f"/v1/models/{model_id}/files/{name}")


@router.get(f"{PATH}/rounds/{{round_id}}/pool")
def download_pool(request: Request, session: SignedIn, round_id: str) -> Response:
    return Forwarded(request, session, f"/v1/rounds/{round_id}/pool")


@router.get(f"{PATH}/jobs/{{job_id}}/reward_drift.svg")
def draw_reward_drift(request: Request, session: SignedIn, job_id: str) -> Response:
    return Forwarded(request, session, f"/v1/jobs/{job_id}/plots/reward_drift.svg")


@router.get(f"{PATH}/audits/{{audit_id}}/plot.svg")
def draw_audit(request: Request, session: SignedIn, audit_id: str) -> Response:
    return Forwarded(request, session, f"/v1/audits/{audit_id}/plot.svg")
