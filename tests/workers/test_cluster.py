"""Stages on a real local Ray: the same artifacts as in one process, cancellation, many workers."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import TinyRound
from scripted_endpoint import KEY, MODEL, NAME, scripted_endpoint

from api_schemas.errors import InvalidInput, RoundFailed
from api_schemas.jobs import RerankingJobInput, RewardModelJobInput
from api_schemas.lexical import LexicalSpec
from api_schemas.reward_models import FittedResult, PinnedInputs, RerankedResult
from workers.cluster import Cluster, StageCancelled
from workers.stages.candidates import candidates_of

MakeRound = Callable[..., TinyRound]


@pytest.fixture(scope="module")
def artifacts_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def cluster(artifacts_url: str) -> Iterator[Cluster]:
    """Two training workers, on however many cores there are."""
    running = Cluster(artifacts_url, train_workers=2)
    running.start()
    yield running
    running.shutdown()


def test_two_training_workers_train_what_one_process_trains(
    cluster: Cluster, artifacts_url: str
) -> None:
    """Their sums have another order, so the last bits differ."""
    made = TinyRound(Path(artifacts_url))
    made.run("fit_rewards", "sample_pool", "score", "solve", "train")
    alone = candidates_of(made.context(), made.digests)
    together_digest = cluster.run_stage(
        "train", made.job, made.digests, made.events.append, lambda: False
    )
    together = candidates_of(made.context(), {**made.digests, "train": together_digest})
    assert [(c.name, c.groups) for c in together] == [(c.name, c.groups) for c in alone]
    for one, other in zip(alone[1:], together[1:], strict=True):
        assert one.state is not None
        assert other.state is not None
        for name, tensor in one.state.items():
            np.testing.assert_allclose(other.state[name], tensor, atol=1e-4)


def test_a_stage_leaves_the_same_artifact_as_in_one_process(
    cluster: Cluster, artifacts_url: str
) -> None:
    made = TinyRound(Path(artifacts_url))
    for stage in ("fit_rewards", "sample_pool", "score", "solve"):
        expected = TinyRound(Path(artifacts_url))
        expected.digests = dict(made.digests)
        expected.run(stage)
        made.digests[stage] = cluster.run_stage(
            stage, made.job, made.digests, made.events.append, lambda: False
        )
        assert made.artifacts.get(made.digests[stage]) == made.artifacts.get(
            expected.digests[stage]
        )
    assert any(event.type == "stage_progress" for event in made.events)


def test_a_reward_model_is_made_and_used_on_the_cluster(
    cluster: Cluster, artifacts_url: str
) -> None:
    """Jobs that belong to no round; their errors come as themselves too."""
    made = TinyRound(Path(artifacts_url))
    model = RewardModelJobInput(
        reward_model_id="rm_" + "a" * 26,
        reward_model=made.job.reports[0].reward_model,
        evaluation_file_id=None,
        pinned=PinnedInputs(),
    )
    left = cluster.run_stage("fit_reward_model", model, {}, made.events.append, lambda: False)
    fitted = FittedResult.model_validate(made.artifacts.get_json(left))
    items = [{"prompt": "p", "responses": ["rain", "red sun", "sun"]}]
    reranking = RerankingJobInput(reranking_id="rrk_" + "a" * 26, fitted=fitted.model, items=items)
    left = cluster.run_stage("rerank", reranking, {}, made.events.append, lambda: False)
    (found,) = RerankedResult.model_validate(made.artifacts.get_json(left)).result
    assert (found.order, found.scores) == ([1, 2, 0], [0.0, 1.5, 0.5])
    features = [{"type": "regex", "pattern": "("}]
    spec = LexicalSpec.model_validate({"type": "lexical", "features": features})
    broken = model.model_copy(update={"reward_model": spec})
    with pytest.raises(InvalidInput, match="RE2 refuses"):
        cluster.run_stage("fit_reward_model", broken, {}, made.events.append, lambda: False)


def test_a_judge_is_asked_by_the_clusters_tasks_and_its_key_is_left_nowhere(
    cluster: Cluster, artifacts_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TinyRound(Path(artifacts_url))
    judge = {"type": "endpoint", "endpoint": NAME, "model": MODEL}
    spec = {"type": "judge", "judge": judge, "criteria": "Words of the sky."}
    job = RewardModelJobInput(
        reward_model_id="rm_" + "b" * 26,
        reward_model=spec,
        evaluation_file_id=None,
        pinned=PinnedInputs(),
    )
    with scripted_endpoint("It may be.\nScore: 3") as endpoint:
        monkeypatch.setattr(cluster, "endpoints", (endpoint.access(groups_may_use=True),))
        left = cluster.run_stage("fit_reward_model", job, {}, made.events.append, lambda: False)
        fitted = FittedResult.model_validate(made.artifacts.get_json(left))
        endpoint.script = lambda asked: f"Look.\nScore: {9 if 'sun' in asked.last else 2}"
        items = [{"prompt": "p", "responses": ["red", "sun"]}]
        reranking = RerankingJobInput(
            reranking_id="rrk_" + "b" * 26, fitted=fitted.model, items=items
        )
        left = cluster.run_stage("rerank", reranking, {}, made.events.append, lambda: False)
        assert {asked.headers["authorization"] for asked in endpoint.asked} == {f"Bearer {KEY}"}
    (found,) = RerankedResult.model_validate(made.artifacts.get_json(left)).result
    assert (found.order, found.scores) == ([1, 0], [2.0, 9.0])
    assert "endpoint" not in f"{made.events}"
    files = [path for path in Path(artifacts_url).rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_an_error_of_a_stage_comes_as_itself(cluster: Cluster, artifacts_url: str) -> None:
    made = TinyRound(Path(artifacts_url), prompts=("red", "sun " * 70))
    made.run("fit_rewards")
    with pytest.raises(Exception, match="prompt 1 has 70 tokens") as caught:
        cluster.run_stage("sample_pool", made.job, made.digests, made.events.append, lambda: False)
    assert caught.value.__class__.__name__ == "InvalidInput"
    assert not isinstance(caught.value, RoundFailed)


def test_a_cancelled_stage_ends_soon_and_the_next_one_runs(
    cluster: Cluster, artifacts_url: str
) -> None:
    training = {"steps": 100_000, "top_layers": None, "learning_rate": 1e-4, "patience": 100_000}
    made = TinyRound(Path(artifacts_url), training=training)
    made.run("fit_rewards", "sample_pool", "score", "solve")

    def has_begun() -> bool:
        return any(event.type == "training_step" for event in made.events)

    with pytest.raises(StageCancelled):
        cluster.run_stage("train", made.job, made.digests, made.events.append, has_begun)
    started = time.monotonic()
    # It needs the cores that the training had.
    digest = cluster.run_stage("score", made.job, made.digests, made.events.append, lambda: False)
    assert digest == made.digests["score"]
    assert time.monotonic() - started < 60
