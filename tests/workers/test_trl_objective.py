"""What TRL's RLOOTrainer is given in `benchmarks/vs_trl.py` is our objective: welfare less λ·KL."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_support import PROMPTS, SIZES, Tastes, policy_gradient, tiny_base

from workers.mechanism.worlds import membership
from workers.pool.logprobs import token_log_probs
from workers.training.objective import l2_loss

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None, reason="TRL comes with the extra `bench` alone"
)
COEFFICIENT = 2.0
RESPONSES = ("red sun", "rain", "blue rain sun")  # the last fills all three tokens: it has no end


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return tmp_path_factory.mktemp("runs")


def rloo(folder: Path, world: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer of one world on the enumerable model that is given the three responses."""
    from transformers import AutoModelForCausalLM

    from benchmarks.trl_worlds import World, rloo_trainer

    base = tiny_base()
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    described = World(
        prompts=list(PROMPTS[:1]),
        weights_N=membership(3)[world] * SIZES,
        score=Tastes(),
        coefficient=COEFFICIENT,
        max_new_tokens=3,
        settings=policy_gradient(prompts_per_step=1, samples_per_prompt=3),
        seed=1,
    )
    trainer = rloo_trainer(model, base.tokenizer, described, folder, half=False)
    ids = [base.tokenizer(text)["input_ids"] for text in RESPONSES]
    ended = [each if len(each) == 3 else [*each, base.tokenizer.eos_token_id] for each in ids]
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *_: ended)
    trainer.model.train()
    return trainer


def batch(trainer: Any) -> dict[str, Tensor]:
    """What one step trains on, as TRL makes it of the given responses."""
    made: dict[str, Tensor] = trainer._generate_and_score_completions(
        [trainer.train_dataset[0]] * len(RESPONSES)
    )
    return made


# S of the responses: 3·1, 7·0.5 and 3·0.4 + 7·1 + 5·1; the last group's 5·1 counts in the grand
# world only. The log ratios are 0.5, −0.25 and 0, so that S − λ·ratio is 2, 4 and 13.2 or 8.2.
@pytest.mark.parametrize(
    ("world", "advantages"),
    [
        (0, [2 - (4 + 13.2) / 2, 4 - (2 + 13.2) / 2, 13.2 - (2 + 4) / 2]),
        (3, [2 - (4 + 8.2) / 2, 4 - (2 + 8.2) / 2, 8.2 - (2 + 4) / 2]),
    ],
)
def test_an_advantage_is_welfare_less_lambda_log_ratio_less_the_mean_of_the_others(
    folder: Path, world: int, advantages: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = rloo(folder, world, monkeypatch)
    # The second response has two tokens: what stands behind its end counts for nothing.
    tuned_JT = torch.tensor([[-1.0, -0.5, -0.25], [-0.5, -1.5, -9.0], [-1.0, -1.0, -1.0]])
    base_JT = torch.tensor([[-1.5, -0.25, -0.5], [-0.25, -1.5, -2.0], [-2.0, -0.5, -0.5]])
    answers = iter([tuned_JT, base_JT])
    monkeypatch.setattr(
        trainer,
        "_get_per_token_logps_and_entropies",
        lambda *_, **__: (next(answers), None, None),
    )
    np.testing.assert_allclose(batch(trainer)["advantages"].numpy(), advantages, rtol=1e-6)


def test_the_gradient_of_a_step_is_that_of_our_objective_on_the_same_responses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = rloo(folder, 0, monkeypatch)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the initial model, else every log ratio is 0
        for parameter in trained:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    made = batch(trainer)
    theirs = torch.autograd.grad(trainer._compute_loss(trainer.model, made), trained)
    ours = torch.autograd.grad(our_loss(trainer.model, made), trained)
    assert max(float(gradient.abs().max()) for gradient in ours) > 0.1
    for found, expected in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-5)


def our_loss(model: Any, made: dict[str, Tensor]) -> Tensor:
    """The plain score-function loss of our objectives, with S − λ·log ratio as the reward."""
    tokens_JT, valid_JT = made["completion_ids"], made["completion_mask"]
    rows = {
        "input_ids": torch.cat([made["prompt_ids"], tokens_JT], 1),
        "attention_mask": torch.cat([made["prompt_mask"], valid_JT], 1),
    }
    predicting = slice(-tokens_JT.shape[1] - 1, -1)
    logits_JTV = model(**rows).logits[:, predicting]
    with model.disable_adapter(), torch.no_grad():
        base_logits_JTV = model(**rows).logits[:, predicting]
    tuned_JT, base_JT = (
        token_log_probs(logits, tokens_JT) for logits in (logits_JTV, base_logits_JTV)
    )
    log_ratio_J = ((tuned_JT - base_JT) * valid_JT).sum(-1).detach()
    welfare_J = torch.from_numpy(SIZES @ Tastes()([], list(RESPONSES), range(3)))
    returns_J = welfare_J - COEFFICIENT * log_ratio_J.double()
    lengths_J = valid_JT.sum(-1)
    loss, _ = l2_loss(logits_JTV, base_logits_JTV, tokens_JT, lengths_J, returns_J, 0.0)
    return loss
