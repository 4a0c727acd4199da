"""Quotes and previews asked for over HTTP, and what the stages of their jobs leave."""

from typing import Any

from scenes import claim
from starlette.testclient import TestClient
from support import report_body

from api_schemas import examples
from api_schemas.jobs import PreviewJobInput, QuoteJobInput
from api_schemas.previews import PreviewResult
from api_schemas.quotes import QuoteResult
from service.dependencies import AppState
from service.jobs import leases
from service.previews.publishing import publish_preview
from service.quotes.publishing import publish_quote
from workers.artifacts import canonical_json
from workers.sealed_results import seal_result


def preview(client: TestClient, round_id: str, **changes: Any) -> dict[str, Any]:
    url = f"/v1/rounds/{round_id}/report/preview"
    created = client.post(url, json=report_body(**changes))
    assert created.status_code == 202, created.text
    return dict(created.json())


def quote(client: TestClient, round_id: str, **settings: Any) -> dict[str, Any]:
    created = client.post(f"/v1/rounds/{round_id}/quote", json=settings)
    assert created.status_code == 202, created.text
    return dict(created.json())


def quoted(job: QuoteJobInput) -> QuoteResult:
    result = QuoteResult.model_validate(examples.QUOTE["result"])
    return result.model_copy(update={"groups": job.groups})


def previewed(job: PreviewJobInput) -> bytes:
    """The example's result with the reported words, sealed as a worker does it."""
    shown = examples.PREVIEW["result"] | {
        "probe": job.probe,
        "warnings": [job.report.reward_model.model_dump_json()],
    }
    result = PreviewResult.model_validate(shown)
    data = canonical_json(result.model_dump(mode="json"))
    return seal_result(job.result_key, job.preview_id, data)


def publish_next(state: AppState) -> leases.Claim:
    """Claim the next job, of a quote or a preview, and publish what it found."""
    held = claim(state.database)
    with state.database.write() as session:
        leases.start_stage(session, held, "publish")
        if isinstance(held.job, QuoteJobInput):
            found = quoted(held.job)
            digest = state.artifacts.put_json(found.model_dump(mode="json"))
            publish_quote(session, held, found, digest)
        else:
            assert isinstance(held.job, PreviewJobInput)
            sealed = previewed(held.job)
            publish_preview(session, held, sealed, state.artifacts.put(sealed))
    return held
