"""A corpus over HTTP, made by the stages themselves on an endpoint over HTTP: what was bought is
kept when the budget runs out, and a replay gives the same lines without the endpoint."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus_scenes import upload
from fake_cluster import running, status, until
from scripted_endpoint import MODEL, NAME, Asked, ScriptedEndpoint, scripted_endpoint
from stages_here import InThisProcess
from starlette.testclient import TestClient

from service.dependencies import AppState
from service.settings import Settings

SPEC = {"type": "endpoint", "endpoint": NAME, "model": MODEL}
BOOK = "\n\n".join(
    f"# Part {part}\n\nPart {part} is about the {name} and what it needs."
    for part, name in enumerate(["tomato", "pepper", "bean", "leek"])
).encode()
LIST = """[{}]
url = "{}"
models = ["{}"]
completion_price = 1_000_000
currency = "EUR"
"""


def writer(asked: Asked) -> str:
    """A generator and a teacher whose replies depend on all that was asked."""
    digest = hashlib.sha256(asked.text.encode()).hexdigest()
    if "questions that learners of a subject ask" in asked.messages[0]["content"]:
        return "\n".join(f"{n}. Why does {digest[n : n + 12]} grow?" for n in (1, 20, 40))
    return f"Because of {digest[:10]}."


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with scripted_endpoint(writer) as endpoint:
        yield endpoint


@pytest.fixture
def settings(settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path) -> Settings:
    path = tmp_path / "endpoints.toml"
    path.write_text(LIST.format(NAME, endpoint.url, MODEL))
    return settings.model_copy(update={"endpoints": path})


def test_a_budget_that_runs_out_is_topped_up_and_nothing_is_bought_twice(
    operator: TestClient, quick: Settings, state: AppState, endpoint: ScriptedEndpoint
) -> None:
    body = {
        "name": "Balcony",
        "document_file_ids": [upload(operator, "document", "book.md", BOOK)["id"]],
        "generators": [SPEC],
        "teacher": SPEC,
        "paragraphs": {"min_characters": 20},
        "questions": {"rounds": 0, "max_tokens": 60},
        "answers": {"max_tokens": 20},
        "holdout_share": 0.25,
        "budget": {"max_tokens": 1400},
    }
    made = operator.post("/v1/corpora", json=body).json()
    url = f"/v1/corpora/{made['id']}"

    def ended(job_id: str, expected: str) -> None:
        with running(quick, InThisProcess(quick)):
            until(lambda: status(state.database, job_id) in ("succeeded", "failed"))
        assert operator.get(f"/v1/jobs/{job_id}").json()["status"] == expected

    ended(made["job_id"], "failed")
    stopped = operator.get(f"/v1/jobs/{made['job_id']}").json()
    assert stopped["error"]["code"] == "budget_exhausted"
    before = len(endpoint.asked)
    assert before > 0
    spent = operator.get(url).json()["spent"]
    assert 0 < spent["prompt_tokens"] + spent["completion_tokens"] <= 1400
    assert spent["currency"] == "EUR"

    budget = {"max_tokens": 100_000, "max_cost_micro_units": 1_000_000}
    operator.post(f"{url}/resume", json={"budget": budget}).raise_for_status()
    ended(made["job_id"], "succeeded")
    assert len(endpoint.asked) > before
    bodies = [str(asked.body) for asked in endpoint.asked]
    assert len(set(bodies)) == len(bodies), "a reply was bought twice"
    done = operator.get(url).json()
    assert done["result"]["lines"] + done["result"]["holdout_lines"] > 0
    assert done["spent"] == done["result"]["spent"]
    assert done["spent"]["calls"] == len(bodies)

    replay = operator.post("/v1/corpora", json=body | {"replay_of": made["id"]}).json()
    ended(replay["job_id"], "succeeded")
    assert len(endpoint.asked) == len(bodies), "a replay asks nobody"
    again = operator.get(f"/v1/corpora/{replay['id']}").json()["result"]
    for name in ("lines_sha256", "holdout_sha256", "calls_sha256"):
        assert again[name] == done["result"][name]
    assert (again["spent"]["calls"], again["spent"]["cost_micro_units"]) == (0, 0)
