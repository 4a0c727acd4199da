"""SmolLM2 fine-tuned on the shipped questions, by the stage itself: minutes, so marked slow."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import InProcess

from api_schemas.fine_tuned_models import BaseModelCreate, BaseModelResult
from api_schemas.jobs import BaseModelJobInput, ProgressEvent
from workers import base_models, own_base_models
from workers.artifacts import ArtifactStore
from workers.question_answers import hold_out, read_question_answers
from workers.stages import fine_tune
from workers.stages.context import StageContext, TaskContext

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
BASE = "smollm2-135m-instruct"
NAME = "bm_" + "b" * 26
LEAST_FALL = 0.4
"""Nats an answer token, by one epoch in batches of 8. Measured: from 4.400 to 3.793, 0.607."""


def lines() -> bytes:
    return resources.files("client.demo").joinpath("corpus/balcony_lines.jsonl").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, BaseModelResult]:
    torch.set_num_threads(2)
    artifacts = ArtifactStore(str(tmp_path_factory.mktemp("artifacts")))
    method = {"batch_size": 8, "epochs": 1, "checkpoints": 2}
    settings = {"name": "balcony", "base_model": BASE, "file_id": "file_" + "a" * 26}
    job = BaseModelJobInput(
        base_model_id=NAME,
        settings=BaseModelCreate.model_validate({**settings, "method": method}),
        base_model_revision=base_models.resolve(BASE).revision,
        lines=artifacts.put(lines()),
        holdout=None,
    )
    events: list[ProgressEvent] = []
    task: Any = TaskContext(job, artifacts, events.append)
    context: Any = StageContext(job, artifacts, events.append, {}, InProcess(task))
    result = BaseModelResult.model_validate_json(artifacts.get(fine_tune.run(context)))
    print("\n" + "\n".join(event.message for event in events))
    return artifacts, result


def test_the_held_out_loss_falls(made: tuple[ArtifactStore, BaseModelResult]) -> None:
    _, result = made
    losses = {point.step: point.holdout_loss for point in result.curve}
    assert (result.lines, result.holdout_lines, result.cut_lines) == (108, 12, 0)
    assert losses[0] - losses[result.best_step] > LEAST_FALL


def test_the_merged_model_loads_in_plain_transformers_with_that_loss_and_answers(
    made: tuple[ArtifactStore, BaseModelResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    artifacts, result = made
    monkeypatch.setenv("TRUTHTUNE_MODEL_CACHE", str(tmp_path))
    folder = own_base_models.materialise(artifacts, NAME, result.revision)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (best,) = (each for each in result.checkpoints if each.step == result.best_step)
    assert holdout_loss(model, tokenizer) == pytest.approx(best.holdout_loss, abs=1e-4)
    prompt = torch.tensor([turn(tokenizer, "How often should I water basil in a pot?")])
    with torch.no_grad():
        written = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=60,
            pad_token_id=tokenizer.eos_token_id,
        )
    answer = tokenizer.decode(written[0, prompt.shape[1] :], skip_special_tokens=True)
    print(f"\n{answer}")
    assert answer.strip()


def turn(tokenizer: Any, question: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def holdout_loss(model: Any, tokenizer: Any) -> float:
    """Of the lines that the stage held out, a line at a time."""
    nats = []
    for line in hold_out(read_question_answers(lines()), 0.1, seed=0)[1]:
        prompt = turn(tokenizer, line.question)
        answer = tokenizer(line.answer, add_special_tokens=False)["input_ids"]
        target = [*answer, tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([[*prompt, *target]])).logits[0]
        log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
        nats += [-float(log_p[place, token]) for place, token in enumerate(target)]
    return sum(nats) / len(nats)
