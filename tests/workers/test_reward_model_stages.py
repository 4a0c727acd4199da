"""Jobs of reward models: made ahead of a round, measured, drawn, and used to choose of n."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TASTES, InProcess

from api_schemas.errors import BadReport, InvalidInput
from api_schemas.jobs import (
    AnyJobInput,
    ProgressEvent,
    RerankingJobInput,
    RewardModelJobInput,
    stages_of,
)
from api_schemas.reward_models import FittedResult, PinnedInputs, RerankedResult
from workers.artifacts import ArtifactStore
from workers.rewards.lexical import LexicalReward
from workers.rewards.registry import FittedRewardModel, saved_method
from workers.rewards.tfidf_bradley_terry import TfidfBradleyTerryReward
from workers.stages.context import StageContext, TaskContext
from workers.stages.fit_reward_model import progress_by_share
from workers.stages.run import STAGE_FUNCTIONS

DATA, OTHER = "file_" + "a" * 26, "file_" + "b" * 26
PREFERENCES = {
    "type": "preference_data",
    "file_id": DATA,
    "method": {"name": "tfidf_bradley_terry"},
}


class Workplace:
    """Runs the stages of one job after another; keeps events, and how tasks were to be run."""

    def __init__(self, folder: Path):
        self.artifacts = ArtifactStore(str(folder))
        self.events: list[ProgressEvent] = []
        self.used_model: list[bool] = []

    def run(self, job: AnyJobInput) -> Any:
        (stage, _publish) = stages_of(job.kind)
        runner = InProcess(TaskContext(job, self.artifacts, self.events.append))
        mapped = runner.map

        def watched(task: Any, items: Sequence[Any], **options: Any) -> list[Any]:
            self.used_model.append(options["uses_model"])
            return mapped(task, items)

        runner.map = watched  # type: ignore[method-assign]
        context = StageContext(job, self.artifacts, self.events.append, {}, runner)
        return self.artifacts.get_json(STAGE_FUNCTIONS[stage](context))

    def fit(
        self, spec: dict[str, Any], evaluation: bool = False, **files: list[dict[str, Any]]
    ) -> FittedResult:
        stored = {
            file_id: self.artifacts.put("\n".join(map(json.dumps, lines)).encode())
            for file_id, lines in files.items()
        }
        job = RewardModelJobInput(
            reward_model_id="rm_" + "a" * 26,
            reward_model=spec,
            evaluation_file_id=OTHER if evaluation else None,
            pinned=PinnedInputs(files=stored),
        )
        return FittedResult.model_validate(self.run(job))

    def rerank(self, fitted: str, *items: tuple[str, list[str]]) -> RerankedResult:
        job = RerankingJobInput(
            reranking_id="rrk_" + "a" * 26,
            fitted=fitted,
            items=[{"prompt": prompt, "responses": responses} for prompt, responses in items],
        )
        return RerankedResult.model_validate(self.run(job))


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "artifacts")


def polite(count: int, prefix: str = "p") -> list[dict[str, Any]]:
    return [
        {"prompt": f"{prefix}{k}", "chosen": f"thank you {k}x", "rejected": f"go away {k}x"}
        for k in range(count)
    ]


def test_a_model_of_preference_data_comes_with_its_card_and_its_page(workplace: Workplace) -> None:
    made = workplace.fit(PREFERENCES, **{DATA: polite(60)})
    assert (made.method, made.uses_model, made.has_members) == ("tfidf_bradley_terry", False, False)
    model = FittedRewardModel.from_bytes(workplace.artifacts.get(made.model))
    assert saved_method(workplace.artifacts.get(made.model)) is TfidfBradleyTerryReward
    polite_score, rude_score = model.score(["p", "p"], ["thank you", "go away"])
    assert polite_score > rude_score
    assert made.report_card is not None
    assert made.report_card == model.report_card
    assert made.report_card.out_of_distribution is None
    assert made.plot_sha256 is not None
    page = workplace.artifacts.get(made.plot_sha256).decode()
    assert "60 pairs on 60 prompts" in page
    assert "rm_" + "a" * 26 in page
    assert workplace.used_model == [False]


def test_evaluation_data_is_the_cards_other_data_or_all_that_a_ready_model_has(
    workplace: Workplace,
) -> None:
    wrong = [{"prompt": f"q{k}", "chosen": "go away", "rejected": "thank you"} for k in range(20)]
    for k, line in enumerate(wrong):
        line["chosen"] += f" {k}"
    made = workplace.fit(PREFERENCES, evaluation=True, **{DATA: polite(60), OTHER: wrong})
    assert made.report_card is not None
    assert made.report_card.out_of_distribution is not None
    assert made.report_card.out_of_distribution.value == 0.0
    features = [{"type": "keywords", "words": ["thank"]}]
    ready = workplace.fit(
        {"type": "lexical", "features": features}, evaluation=True, **{OTHER: polite(20)}
    )
    assert ready.report_card is not None
    assert ready.report_card.accuracy is not None
    assert (ready.report_card.accuracy.value, ready.report_card.n_train) == (1.0, 0)
    unmeasured = workplace.fit({"type": "lexical", "features": features})
    assert unmeasured.report_card is unmeasured.plot_sha256 is None


def test_a_fit_that_the_data_makes_impossible_fails_with_the_reason(workplace: Workplace) -> None:
    with pytest.raises(InvalidInput, match="3 distinct pairs"):
        workplace.fit(PREFERENCES, **{DATA: polite(3)})
    with pytest.raises(InvalidInput, match="RE2 refuses"):
        workplace.fit({"type": "lexical", "features": [{"type": "regex", "pattern": "("}]})


def test_whatever_a_fit_does_to_itself_is_its_own_jobs_failure(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(TfidfBradleyTerryReward, "from_pairs", broken)
    with pytest.raises(BadReport, match="can't be fitted: ZeroDivisionError") as caught:
        workplace.fit(PREFERENCES, **{DATA: polite(60)})
    assert caught.value.param == "reward_model"


def test_a_lost_file_is_no_fault_of_the_data(workplace: Workplace) -> None:
    """A store that fails is tried again; only the project's errors end a job."""
    (Path(workplace.artifacts.url)).mkdir()
    digest = workplace.artifacts.put(b"damaged")
    path = next(Path(workplace.artifacts.url).glob("*/*"))
    path.write_bytes(b"other bytes")
    job = RewardModelJobInput(
        reward_model_id="rm_" + "a" * 26,
        reward_model=PREFERENCES,
        evaluation_file_id=None,
        pinned=PinnedInputs(files={DATA: digest}),
    )
    with pytest.raises(OSError, match="damaged"):
        workplace.run(job)


def test_a_model_whose_scores_are_no_numbers_is_refused_before_anyone_uses_it(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it fails on the probe's empty response, which no data holds."""
    honest = LexicalReward.score

    def score(self: LexicalReward, prompts: Any, responses: Any) -> Any:
        return np.where([not r for r in responses], np.nan, honest(self, prompts, responses))

    monkeypatch.setattr(LexicalReward, "score", score)
    with pytest.raises(BadReport, match=r"nan for the prompt .* and the response ''"):
        workplace.fit(TASTES[0], evaluation=True, **{OTHER: polite(20)})


def test_a_model_that_is_made_again_has_the_same_bytes(tmp_path: Path) -> None:
    first, second = (
        Workplace(tmp_path / name).fit(PREFERENCES, **{DATA: polite(40)}) for name in "ab"
    )
    assert first == second


def test_progress_is_told_by_twentieths_and_to_the_end() -> None:
    told: list[tuple[Any, ...]] = []
    progress = progress_by_share(lambda *event: told.append(event), "fit_reward_model", " of g")
    for done in range(1, 1001):
        progress("batches", done, 1000)
    assert len(told) == 21
    assert told[0] == ("fit_reward_model", 1, 1000, "batches of g")
    assert told[-1] == ("fit_reward_model", 1000, 1000, "batches of g")


def test_the_responses_of_every_prompt_are_ordered_by_their_scores(workplace: Workplace) -> None:
    fitted = workplace.fit(
        {"type": "lexical", "features": [{"type": "keywords", "words": ["please", "thanks"]}]}
    )
    found = workplace.rerank(
        fitted.model,
        ("one", ["no", "please", "thanks and please"]),
        ("two", ["please", "thanks"]),
        ("three", ["alone"]),
    )
    first, second, third = found.result
    assert (first.order, first.scores) == ([2, 1, 0], [0.0, 0.5, 1.0])
    assert first.kl_bound == pytest.approx(math.log(3) - 2 / 3)
    assert second.order == [0, 1]
    assert (third.order, third.kl_bound) == ([0], 0.0)
    assert workplace.events[-1].message == "rerank: 3 of 3 items"


def test_a_neural_model_gets_all_cores_to_score_with(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = workplace.fit(TASTES[0])
    monkeypatch.setattr(LexicalReward, "uses_model", True)
    workplace.rerank(fitted.model, ("p", ["a", "b"]))
    workplace.fit(TASTES[0])
    assert workplace.used_model == [False, True, True]


def test_a_response_without_a_score_fails_the_reranking_by_name(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = workplace.fit(TASTES[0])
    honest = LexicalReward.score

    def score(self: LexicalReward, prompts: Any, responses: Any) -> Any:
        if "raise" in responses:
            raise RuntimeError("out of memory")
        return np.where([r == "bad" for r in responses], np.inf, honest(self, prompts, responses))

    monkeypatch.setattr(LexicalReward, "score", score)
    with pytest.raises(BadReport, match="item 1: the score of response 1 is inf") as caught:
        workplace.rerank(fitted.model, ("one", ["a"]), ("two", ["a", "bad"]))
    assert caught.value.param == "items[1]"
    with pytest.raises(BadReport, match="RuntimeError: out of memory"):
        workplace.rerank(fitted.model, ("one", ["raise"]))
