"""TRL's RLOOTrainer on affine social welfare: one training a world, as its users would run it.

RLOO maximises E_x E_{y~π} [ R(x, y) − β (log π(y|x) − log π₀(y|x)) ] over whole responses, with the
mean of a prompt's other responses as baseline. With one reward function a group, weighted by its
size, R is S = Σᵢ wᵢ rᵢ, and with β = λ the objective is ASW under KL (docs/mechanism.md §1). Our
trainer climbs the same objective with the exact KL over the vocabulary where RLOO takes the sampled
log-ratio, and with the KL of later tokens only where RLOO takes the whole response's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import RLOOConfig, RLOOTrainer

from api_schemas.training import PolicyGradient
from workers.training.stacked_lora import TARGETS
from workers.training.task import ScoreResponses


@dataclass(frozen=True)
class World:
    """One world to train: what a `TrainingTask` says about it, for a trainer of one world.

    `weights_N`: w_i where group i counts, else 0. `coefficient`: λ, agent·reward units a nat.
    """

    prompts: list[str]
    weights_N: np.ndarray
    score: ScoreResponses
    coefficient: float
    max_new_tokens: int
    settings: PolicyGradient
    seed: int

    @property
    def members(self) -> list[int]:
        return [int(group) for group in np.flatnonzero(self.weights_N)]


class AfterEveryStep(TrainerCallback):
    """Calls what it was given when a step is through."""

    def __init__(self, call: Callable[[], None]):
        self._call = call

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._call()


def rloo_trainer(
    model: Any,
    tokenizer: Any,
    world: World,
    folder: Path,
    *,
    half: bool,
    after_step: Callable[[], None] = lambda: None,
) -> RLOOTrainer:
    """A trainer of one world with the announced settings; the adapter is on the announced layers.

    A step is one batch: one call of `generate`, one forward and backward pass, nothing computed
    twice to save memory. `half`: under bfloat16's autocast, as TRL does by default.
    """
    return RLOOTrainer(
        model=model,
        reward_funcs=[_reward_function(world.score, group) for group in world.members],
        args=_config(world, folder, half),
        train_dataset=Dataset.from_list([_row(tokenizer, prompt) for prompt in world.prompts]),
        processing_class=tokenizer,
        callbacks=[AfterEveryStep(after_step)],
        peft_config=_adapter(world.settings, model.config.num_hidden_layers),
    )


def _config(world: World, folder: Path, half: bool) -> RLOOConfig:
    settings = world.settings
    return RLOOConfig(
        output_dir=str(folder),
        # The objective: S − λ·log ratio, as it is.
        reward_weights=[float(world.weights_N[group]) for group in world.members],
        beta=world.coefficient,
        normalize_advantages=False,
        # The responses: from the policy itself.
        num_generations=settings.samples_per_prompt,
        per_device_train_batch_size=settings.prompts_per_step * settings.samples_per_prompt,
        max_completion_length=world.max_new_tokens,
        temperature=1.0,
        # The steps: Adam, as AdamW without decay.
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.learning_rate_schedule,
        weight_decay=0.0,
        max_grad_norm=settings.gradient_clip,
        seed=world.seed,
        # The machine.
        bf16=half,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        # Nothing beside the training.
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _adapter(settings: PolicyGradient, layers: int) -> LoraConfig:
    top = min(settings.top_layers or layers, layers)
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules=list(TARGETS),
        layers_to_transform=list(range(layers - top, layers)),
        layers_pattern="layers",
        task_type="CAUSAL_LM",
    )


def _row(tokenizer: Any, prompt: str) -> dict[str, Any]:
    """A user's turn, in the chat template of a model that has one."""
    if tokenizer.chat_template is None:
        return {"prompt": prompt, "question": prompt}
    return {"prompt": [{"role": "user", "content": prompt}], "question": prompt}


def _reward_function(score: ScoreResponses, group: int) -> Callable[..., list[float]]:
    """One group's rewards as TRL asks for them."""

    def reward(completions: list[Any], question: list[str], **_: Any) -> list[float]:
        texts = [each if isinstance(each, str) else each[0]["content"] for each in completions]
        rewards: list[float] = score(question, texts, [group])[0].tolist()
        return rewards

    reward.__name__ = f"group_{group}"
    return reward
