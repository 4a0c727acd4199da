"""Reward models asked for over HTTP, and what the stages of their jobs leave."""

from typing import Any

from scenes import claim
from starlette.testclient import TestClient
from support import PAIRS, upload_jsonl

from api_schemas.jobs import RerankingJobInput
from api_schemas.report_cards import Accuracy, ReportCard
from api_schemas.reward_models import FittedResult, Reranked, RerankedResult
from service.dependencies import AppState
from service.jobs import leases
from service.reward_models.publishing import publish_reranking, publish_reward_model
from workers.artifacts import ArtifactStore

CARD = b'<svg xmlns="http://www.w3.org/2000/svg"><title>report card</title></svg>'
CONTENT = b'{"format": 2, "method": "lexical", "report_card": null}\n{"features": []}'
LEXICAL = {"type": "lexical", "features": [{"type": "keywords", "words": ["please"]}]}
ITEMS = [
    {"prompt": "red", "responses": ["sun", "please", "rain"]},
    {"prompt": "blue", "responses": ["sky"]},
]


def body(spec: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {"name": "Spring", "reward_model": spec or LEXICAL} | changes


def create(
    client: TestClient, spec: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    created = client.post("/v1/reward-models", json=body(spec, **changes))
    assert created.status_code == 201, created.text
    return dict(created.json())


def rerank(client: TestClient, reward_model_id: str) -> dict[str, Any]:
    created = client.post(_rerankings(reward_model_id), json={"items": ITEMS})
    assert created.status_code == 201, created.text
    return dict(created.json())


def _rerankings(reward_model_id: str) -> str:
    return f"/v1/reward-models/{reward_model_id}/rerankings"


def preferences(client: TestClient, name: str = "tfidf_bradley_terry", **method: Any) -> Any:
    """The spec of a reward model fitted to a file that the client has just uploaded."""
    file_id = upload_jsonl(client, "preferences", PAIRS)["id"]
    return {"type": "preference_data", "file_id": file_id, "method": {"name": name} | method}


def card() -> ReportCard:
    accuracy = Accuracy(pairs=8, prompts=4, value=0.75, standard_error=0.1, low=0.5, high=1.0)
    return ReportCard(
        n_pairs=40,
        n_prompts=20,
        n_duplicates_dropped=1,
        n_ties_dropped=0,
        n_train=32,
        n_holdout=8,
        accuracy=accuracy,
        calibration=None,
        scores=None,
        length_correlation=0.25,
        note=None,
    )


def fitted(artifacts: ArtifactStore, **changes: Any) -> FittedResult:
    found = FittedResult(
        model=artifacts.put(CONTENT),
        method="lexical",
        uses_model=False,
        has_members=False,
        report_card=card(),
        plot_sha256=artifacts.put(CARD),
    )
    return found.model_copy(update=changes)


def reranked(job: RerankingJobInput) -> RerankedResult:
    """The longest response first."""
    result = []
    for item in job.items:
        scores = [float(len(response)) for response in item.responses]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        result.append(Reranked(order=order, scores=scores, kl_bound=0.0))
    return RerankedResult(result=result)


def publish_next(state: AppState, **changes: Any) -> leases.Claim:
    """Claim the next job, of a reward model or a reranking, and publish what it found."""
    held = claim(state.database)
    publish(state, held, **changes)
    return held


def publish(state: AppState, held: leases.Claim, **changes: Any) -> None:
    with state.database.write() as session:
        leases.start_stage(session, held, "publish")
        if isinstance(held.job, RerankingJobInput):
            found = reranked(held.job)
            digest = state.artifacts.put_json(found.model_dump(mode="json"))
            publish_reranking(session, held, found, digest)
        else:
            publish_reward_model(session, held, fitted(state.artifacts, **changes))


def ready(client: TestClient, state: AppState, **changes: Any) -> dict[str, Any]:
    """A reward model of the client's whose job has succeeded; it must be the next to be claimed."""
    made = create(client)
    publish_next(state, **changes)
    return dict(client.get(f"/v1/reward-models/{made['id']}").json())
