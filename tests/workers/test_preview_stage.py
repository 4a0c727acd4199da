"""Previews: a report's reward model on samples of the initial model, stored sealed or not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GROUP_IDS, TASTES, InProcess, TinyRound
from pydantic import TypeAdapter
from scripted_endpoint import MODEL, NAME, scripted_endpoint, status

from api_schemas.jobs import PreviewJobInput, ProgressEvent, ReportInput
from api_schemas.previews import PreviewResult
from api_schemas.reward_models import PinnedInputs, RewardModelSpec
from workers.language_models.access import granted
from workers.mechanism.normalise import score_range, to_rewards
from workers.rewards import registry
from workers.rewards.interfaces import FitContext
from workers.sealed_results import DamagedResult, new_key, open_result, seal_result
from workers.stages.context import StageContext, TaskContext
from workers.stages.preview import SAMPLES
from workers.stages.run import STAGE_FUNCTIONS

MakeRound = Callable[..., TinyRound]
FILE = "file_" + "a" * 26
SIZE = 3


class Preview:
    """Runs one preview; keeps what it left in the store and what it told."""

    def __init__(self, made: TinyRound, spec: dict[str, Any], files: dict[str, str] | None = None):
        self.made = made
        self.events: list[ProgressEvent] = []
        self.job = PreviewJobInput(
            preview_id="prv_" + "a" * 26,
            announcement=made.job.announcement,
            report=ReportInput(
                group_id=GROUP_IDS[0],
                size=SIZE,
                reward_model=TypeAdapter(RewardModelSpec).validate_python(spec),
                report_digest="sha256:" + "0" * 64,
                pinned=PinnedInputs(files=files or {}),
            ),
            probe=None,
            result_key=new_key(),
        )

    def run(self) -> PreviewResult:
        artifacts = self.made.artifacts
        before = {blob.digest for blob in artifacts.blobs()}
        task = TaskContext(self.job, artifacts, self.events.append)
        context = StageContext(self.job, artifacts, self.events.append, {}, InProcess(task))
        digest = STAGE_FUNCTIONS["preview"](context)
        assert {blob.digest for blob in artifacts.blobs()} - before == {digest}
        self.sealed = artifacts.get(digest)
        return PreviewResult.model_validate_json(
            open_result(self.job.result_key, self.job.preview_id, self.sealed)
        )


def test_scores_and_rewards_are_those_of_the_reward_model_on_the_samples(
    tiny_round: MakeRound,
) -> None:
    preview = Preview(tiny_round(), TASTES[0])
    result = preview.run()
    assert (result.prompts, result.responses) == (4, 4 * SAMPLES)
    assert result.excluded is None
    scored = result.scored
    assert scored is not None
    assert sum(scored.histogram.counts) == result.responses
    assert scored.histogram.edges == pytest.approx(np.linspace(0, 1, 11))
    model = registry.fit(preview.job.report.reward_model, FitContext(lambda _: b""))
    shown = [*scored.best, *scored.worst]
    raw = model.score([each.prompt for each in shown], [each.response for each in shown])
    assert [each.score for each in shown] == pytest.approx(raw.tolist())
    ends = score_range([[scored.minimum, scored.maximum]], "a")
    rewards, _ = to_rewards(raw[None], ends, "a")
    assert [each.reward for each in shown] == pytest.approx(rewards[0].tolist())
    assert (scored.best[0].reward, scored.worst[0].reward) == (1.0, 0.0)
    scores = [each.score for each in scored.best]
    assert scores == sorted(scores, reverse=True)
    assert len({(each.prompt, each.response) for each in scored.best}) == len(scored.best) == 5


def test_the_same_preview_is_the_same_and_of_other_samples_than_the_pools(
    tiny_round: MakeRound,
) -> None:
    pool = {"samples_per_prompt": SAMPLES, "fresh_samples_per_prompt": 0}
    made = tiny_round(pool=pool)
    first, second = (Preview(made, TASTES[0]).run() for _ in range(2))
    assert first == second
    made.run("fit_rewards", "sample_pool", "score")
    taste = Preview(made, TASTES[0]).job.report.reward_model
    digests = made.artifacts.get_json(made.digests["sample_pool"])
    from workers.pool.pool import Pool

    drawn = Pool.from_bytes(made.artifacts.get(digests["pool"]))
    scores = registry.fit(taste, FitContext(lambda _: b"")).score(*drawn.flat_texts())
    assert first.scored is not None
    assert first.scored.mean_score != pytest.approx(float(scores.mean()))


def test_what_is_stored_and_told_says_nothing_of_the_report(tiny_round: MakeRound) -> None:
    words = {"type": "keywords", "words": ["xylophone", "red"]}
    preview = Preview(tiny_round(), {"type": "lexical", "features": [words]})
    assert preview.run().scored is not None
    for told in (b"xylophone", b"histogram", b"keywords", b"score"):
        assert told not in preview.sealed
        assert told not in repr(preview.events).encode()
    assert preview.job.result_key not in repr(preview.job)


def test_a_reward_model_without_a_preference_is_shown_with_what_that_means(
    tiny_round: MakeRound,
) -> None:
    never = {"type": "lexical", "features": [{"type": "keywords", "words": ["xylophone"]}]}
    result = Preview(tiny_round(), never).run()
    assert result.scored is not None
    assert result.scored.minimum == result.scored.maximum
    assert result.scored.mean_reward == 0
    assert "pays nothing" in result.warnings[0]


def test_a_constant_report_would_be_excluded_where_the_payment_rule_refuses_it(
    tiny_round: MakeRound,
) -> None:
    never = {"type": "lexical", "features": [{"type": "keywords", "words": ["xylophone"]}]}
    result = Preview(tiny_round(payment_rule="revenue_maximizing"), never).run()
    assert result.scored is None
    assert result.excluded is not None
    assert "'revenue_maximizing' takes no report" in result.excluded


def test_a_model_that_must_be_fitted_is_fitted_and_one_that_can_not_be_says_why(
    tiny_round: MakeRound,
) -> None:
    made = tiny_round()
    pairs = [
        {"prompt": f"p{k}", "chosen": f"red sun {k}", "rejected": f"rain rain {k}"}
        for k in range(40)
    ]
    spec = {"type": "preference_data", "file_id": FILE, "method": {"name": "tfidf_bradley_terry"}}
    stored = made.artifacts.put("\n".join(map(json.dumps, pairs)).encode())
    result = Preview(made, spec, {FILE: stored}).run()
    assert result.scored is not None
    assert "red" in result.scored.best[0].response
    bad = made.artifacts.put(b'{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    unusable = Preview(made, spec, {FILE: bad}).run()
    assert unusable.scored is None
    assert unusable.excluded is not None
    assert unusable.excluded.startswith(f"group {GROUP_IDS[0]}: ")


def test_a_reward_model_that_fails_on_a_response_is_a_finding_not_a_failed_job(
    tiny_round: MakeRound, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Any:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(registry.FittedRewardModel, "score_with_members", failing)
    result = Preview(tiny_round(), TASTES[0]).run()
    assert result.excluded == "its reward model failed: RuntimeError: no such luck"


def test_a_judges_preview_leaves_nothing_but_its_sealed_result(tiny_round: MakeRound) -> None:
    """Neither a call's prompt, response and score, nor how its endpoint failed."""
    spec = {
        "type": "judge",
        "judge": {"type": "endpoint", "endpoint": NAME, "model": MODEL},
        "criteria": "Xylophones.",
    }
    with scripted_endpoint(lambda asked: f"So.\nScore: {1 + len(asked.last) % 9}") as endpoint:
        preview = Preview(tiny_round(), spec)
        given = [endpoint.access(groups_may_use=True, concurrency=16, attempts=1)]
        folder = Path(preview.made.artifacts.url)
        with granted(preview.made.artifacts, given):
            assert preview.run().scored is not None
            endpoint.script = lambda _: status(503, "organisation org-17")
            away = preview.run()
    stored = [path for path in folder.rglob("*") if path.is_file()]
    assert stored
    assert not any(b"Xylophones" in path.read_bytes() for path in stored)
    assert not (folder / "calls").exists()
    assert "Xylophones" not in repr(preview.events)
    assert away.excluded is not None
    assert "status 503, endpoint_unavailable" in away.excluded
    assert "org-17" not in away.excluded


def test_a_sealed_result_opens_with_its_key_for_its_preview_and_unchanged_alone() -> None:
    key, sealed = new_key(), b""
    sealed = seal_result(key, "prv_a", b"data")
    assert open_result(key, "prv_a", sealed) == b"data"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong in ((new_key(), "prv_a", sealed), (key, "prv_b", sealed), (key, "prv_a", changed)):
        with pytest.raises(DamagedResult):
            open_result(*wrong)
    with pytest.raises(DamagedResult):
        open_result(key, "prv_a", b"short")
