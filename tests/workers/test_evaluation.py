"""Evaluations on the six-word model: answers against plain transformers, scores of a real judge."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fine_tuned_support as support
import pytest
import torch
from conftest import InProcess
from scripted_endpoint import MODEL, NAME, Asked, scripted_endpoint

from api_schemas.errors import BudgetExhausted, InvalidInput
from api_schemas.evaluations import EvaluationCreate, EvaluationResult
from api_schemas.jobs import EvaluatedInput, EvaluationJobInput, ProgressEvent
from api_schemas.language_models import EndpointAccess
from workers import base_models, tiny_model
from workers.artifacts import ArtifactStore, canonical_json
from workers.decoder import Decoder
from workers.evaluation.answers import greedy_answers, tuned
from workers.evaluation.metrics import overlap
from workers.evaluation.table import drawn
from workers.language_models.call_book import CallBook
from workers.question_answers import QuestionAnswer
from workers.stages import evaluate
from workers.stages.context import StageContext, TaskContext
from workers.training.stacked_lora import StackedAdapters, save_peft

QUESTIONS = ("red sun", "green rain", "blue sun rain", "rain rain sun", "sun")
REFERENCE = "rain sun rain"
BASE = {"type": "base_model", "base_model": tiny_model.NAME}
TUNED = {"type": "tuned", "model_id": "mdl_" + "a" * 26}
JUDGE = {"type": "endpoint", "endpoint": NAME, "model": MODEL}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned model's files: a random adapter of rank 3, as a round delivers one."""
    folder = tmp_path_factory.mktemp("adapter")
    stack = StackedAdapters(
        support.tiny_base().model, worlds=1, rank=3, scaling=2.0, top_layers=None, seed=4
    )
    state = stack.world_state(0)
    stack.close()
    generator = torch.Generator().manual_seed(4)
    for key, tensor in state.items():
        if ".lora_B." in key:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
    save_peft(folder, state, base_model=tiny_model.NAME, rank=3, alpha=6.0, layers=[0, 1])
    return folder


class Evaluating:
    """The job of an evaluation of the tiny model, and of the tuned one, run in this process."""

    def __init__(self, folder: Path, adapter: Path, **changes: Any):
        self.artifacts = ArtifactStore(str(folder))
        self.events: list[ProgressEvent] = []
        files = {file.name: self.artifacts.put(file.read_bytes()) for file in adapter.iterdir()}
        settings = {"name": "both", "models": [BASE, TUNED], "file_id": "file_" + "a" * 26}
        settings |= {"max_new_tokens": 6, **changes}
        rows = [{"question": question, "answer": REFERENCE} for question in QUESTIONS]
        self.job = EvaluationJobInput(
            evaluation_id="evl_" + "a" * 26,
            settings=EvaluationCreate.model_validate(settings),
            models=[
                EvaluatedInput(
                    model=model,
                    base_model=tiny_model.NAME,
                    revision=support.REVISION,
                    adapter=files if model is TUNED else None,
                )
                for model in (BASE, TUNED)
            ],
            questions=self.artifacts.put(b"".join(canonical_json(row) + b"\n" for row in rows)),
            base_models={},
        )

    def run(self, *endpoints: EndpointAccess) -> EvaluationResult:
        given = {"job": self.job, "artifacts": self.artifacts, "tell": self.events.append}
        task: Any = TaskContext(**given, endpoints=endpoints)
        context: Any = StageContext(**given, inputs={}, runner=InProcess(task))
        return EvaluationResult.model_validate_json(self.artifacts.get(evaluate.run(context)))

    def lines(self, result: EvaluationResult) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.artifacts.get(result.answers_sha256).splitlines()]


def by_transformers(model: Any, questions: Sequence[str]) -> list[str]:
    base = support.tiny_base()
    found = []
    for question in questions:
        prompt = torch.tensor([base.prompt_tokens(question)])
        written = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=6,
            pad_token_id=0,
        )[0, prompt.shape[1] :]
        found.append(base.tokenizer.decode(written, skip_special_tokens=True))
    return found


def plain_model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base_models.prepare(tiny_model.NAME)).eval()


def test_answers_are_those_that_plain_transformers_and_peft_write(adapter: Path) -> None:
    """And the base model, whose layers the adapter was on, still answers as before."""
    from peft import PeftModel

    base = support.tiny_base()
    of_base = by_transformers(plain_model(), QUESTIONS)
    of_tuned = by_transformers(PeftModel.from_pretrained(plain_model(), adapter), QUESTIONS)
    assert of_base != of_tuned
    files = {file.name: file.read_bytes() for file in adapter.iterdir()}
    told: list[int] = []
    for decoder, expected in (
        (tuned(base, files), of_tuned),
        (Decoder(base.model), of_base),
    ):
        found = greedy_answers(base, decoder, QUESTIONS, 6, lambda done, _: told.append(done))
        assert found == expected
    assert told[-1] == len(QUESTIONS)


def test_a_question_without_room_for_its_answer_and_other_files_are_refused(
    adapter: Path,
) -> None:
    base = support.tiny_base()
    with pytest.raises(InvalidInput, match="beyond the model's context of 64"):
        greedy_answers(base, Decoder(base.model), ["red " * 60], 6, lambda *_: None)
    with pytest.raises(InvalidInput, match=r"lacks its file 'adapter_config\.json'"):
        tuned(base, {"adapter_model.safetensors": b""})
    config = (adapter / "adapter_config.json").read_bytes()
    with pytest.raises(InvalidInput):
        tuned(base, {"adapter_config.json": config, "adapter_model.safetensors": b"x"})


def test_a_table_without_a_judge_has_the_answers_figures_and_no_score(
    tmp_path: Path, adapter: Path
) -> None:
    evaluating = Evaluating(tmp_path, adapter)
    result = evaluating.run()
    assert (result.questions, result.tokenization, result.spent.calls) == (5, "words", 0)
    assert evaluating.artifacts.get(result.calls_sha256) == b""
    lines = evaluating.lines(result)
    assert [line["question"] for line in lines] == list(QUESTIONS)
    for place, row in enumerate(result.rows):
        answers = [line["answers"][place]["answer"] for line in lines]
        expected = overlap([REFERENCE] * 5, answers, "words")
        assert row.model_dump(include=set(vars(expected))) == pytest.approx(vars(expected))
        assert row.mean_characters == pytest.approx(sum(map(len, answers)) / 5)
        penalties = [0.5 * max(0, len(answer) / len(REFERENCE) - 1) for answer in answers]
        assert row.length_penalty == pytest.approx(sum(penalties) / 5)
        assert [line["answers"][place]["length_penalty"] for line in lines] == penalties
        assert (row.judge_score, row.comprehensive, row.revision) == (None, None, support.REVISION)
    assert [row.model.type for row in result.rows] == ["base_model", "tuned"]


def judge(asked: Asked) -> str:
    """8 for accuracy and 6 for clarity, 3 and 4 for the others: a mean of 5.25."""
    scores = {"Factual accuracy": 8, "User satisfaction": 3, "Clarity": 6, "Condensability": 4}
    (score,) = (score for name, score in scores.items() if f"Criterion. {name}" in asked.text)
    return f"It says what it says.\nScore: {score}"


def test_the_judge_s_scores_less_the_length_penalty_are_the_comprehensive_score(
    tmp_path: Path, adapter: Path
) -> None:
    """Four calls an answer that two models don't share; a run once more buys none of them."""
    evaluating = Evaluating(tmp_path, adapter, judge=JUDGE, max_questions=2)
    with scripted_endpoint(judge) as endpoint:
        result = evaluating.run(endpoint.access())
        asked = len(endpoint.asked)
        again = evaluating.run(endpoint.access())
        assert len(endpoint.asked) == asked
    answers = {
        (line["question"], each["answer"])
        for line in evaluating.lines(result)
        for each in line["answers"]
    }
    assert asked == result.spent.calls == 4 * len(answers)
    for row in result.rows:
        assert row.judge_score == pytest.approx(5.25)
        assert row.comprehensive == pytest.approx(5.25 - row.length_penalty)
    first = evaluating.lines(result)[0]["answers"][0]["criteria"]
    assert [each["score"] for each in first] == [8, 3, 6, 4]
    assert first[0]["reasons"] == "It says what it says."
    assert again.model_copy(update={"spent": result.spent}) == result
    assert (again.spent.calls, again.spent.replayed) == (asked, 2 * 2 * 4)
    told = [event.data["spent"]["calls"] for event in evaluating.events if "spent" in event.data]
    assert max(told) == asked


def test_a_budget_that_is_used_up_stops_the_judge_and_keeps_what_was_bought(
    tmp_path: Path, adapter: Path
) -> None:
    evaluating = Evaluating(
        tmp_path, adapter, judge=JUDGE, max_questions=2, budget={"max_tokens": 2500}
    )
    with scripted_endpoint(judge) as endpoint:
        with pytest.raises(BudgetExhausted):
            evaluating.run(endpoint.access(concurrency=1))
        bought = CallBook(evaluating.artifacts, evaluating.job.evaluation_id).spent
        assert 0 < bought.calls == len(endpoint.asked)
        assert evaluating.events[-1].data["spent"]["calls"] == bought.calls
        richer = evaluating.job.settings.model_copy(
            update={
                "budget": evaluating.job.settings.budget.model_copy(update={"max_tokens": 10**6})
            }
        )
        evaluating.job = evaluating.job.model_copy(update={"settings": richer})
        result = evaluating.run(endpoint.access())
        assert result.spent.calls == len(endpoint.asked)


def test_the_same_questions_are_drawn_in_their_order() -> None:
    lines = [QuestionAnswer(k, f"q{k}", "a") for k in range(20)]
    found = drawn(lines, 5, seed=1)
    assert found == sorted(found, key=lambda each: each.line)
    assert len(set(found)) == 5
    assert drawn(lines, 5, seed=1) == found != drawn(lines, 5, seed=2)
    assert drawn(lines, 20, seed=1) == lines
