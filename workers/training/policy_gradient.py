"""The on-policy method: every world draws its own rollouts from its own policy.

Random numbers are common to all worlds, in one batch. World −i never sees a reward of group i, nor
a response drawn from a policy that did: each world's responses go to the reward models of its own
groups only.
"""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from api_schemas.training import PolicyGradient
from workers.base_models import BaseModel
from workers.decoder import PackedRows
from workers.pool.logprobs import ROW_TOKENS
from workers.pool.pool import response_texts
from workers.pool.randomness import uniforms
from workers.pool.sampling import Rollouts, sample
from workers.training.elastic_reset import ElasticResets
from workers.training.gradient_steps import GradientTrainer
from workers.training.objective import PROMPT_LOSSES
from workers.training.shares import Shares
from workers.training.task import TrainingTask
from workers.training.worth import Worth


class PolicyGradientTrainer(GradientTrainer):
    """A step reads top to bottom in `_accumulate_gradient`: sample, score, objective."""

    kind: ClassVar[str] = "rollouts"

    def __init__(self, base: BaseModel, task: TrainingTask, shares: Shares | None = None):
        if not isinstance(task.settings, PolicyGradient):
            raise ValueError(f"policy_gradient can't train as {task.settings.method!r} announces")
        super().__init__(base, task, shares)
        self.settings = task.settings
        self.prompt_loss = PROMPT_LOSSES[task.regularizer]
        if self.settings.elastic_reset is not None:
            self.resets = ElasticResets(self.parameters, self.settings.elastic_reset)

    def _accumulate_gradient(self, prompts: list[int]) -> dict[int, Worth]:
        rollouts = self._sample(prompts)
        self.tokens += int(rollouts.lengths_KPJ.sum())
        welfare_KPJ = self._score(prompts, rollouts)
        return self._gradient(prompts, rollouts, welfare_KPJ)

    def _sample(self, prompts: list[int]) -> Rollouts:
        shape = (self.settings.samples_per_prompt, self.task.max_new_tokens)
        uniforms_PJT = torch.stack(
            [uniforms(shape, self.task.seed, "rollouts", self.step, x) for x in prompts]
        )
        return sample(
            self.decoder,
            self.adapters,
            self.running,
            [self.task.prompt_tokens[x] for x in prompts],
            uniforms_PJT,
            self.base.eos_token_ids,
        )

    def _score(self, prompts: list[int], rollouts: Rollouts) -> Tensor:
        """S of every response in its world, shape (K, P, J).

        NaN where the reward model of a group of the world fails, and in worlds that have stopped.
        """
        shape = rollouts.lengths_KPJ.shape
        welfare_KPJ = np.full(shape, np.nan)
        asked = [self.task.prompts[x] for x in prompts for _ in range(shape[2])]
        for k, world in enumerate(self.running):
            if self.records[world].stopped:
                continue
            texts = response_texts(
                self.base, rollouts.tokens_KPJT[k].flatten(0, 1), rollouts.lengths_KPJ[k].flatten()
            )
            members = self.task.groups(world)
            rewards_NM = self.task.score(asked, texts, members)
            welfare_M = np.zeros(len(texts))
            for group, rewards_M in zip(members, rewards_NM, strict=True):
                welfare_M += self.task.weights_WN[world, group] * rewards_M
            welfare_KPJ[k] = welfare_M.reshape(shape[1:])
        return torch.from_numpy(welfare_KPJ)

    def _gradient(
        self, prompts: list[int], rollouts: Rollouts, welfare_KPJ: Tensor
    ) -> dict[int, Worth]:
        """Accumulate the gradient of every active world; returns what the rollouts are worth.

        The loss runs backward prompt by prompt into the top layers' output, so that the logits of
        one prompt's responses are all that is held at once; then once through the top layers.
        """
        running, task, decoder = self.running, self.task, self.decoder
        rows, hidden_RSH = _training_rows(rollouts)
        positions, mask = rows.positions_RS, rows.mask_RSS
        top = range(self.adapters.first_layer, decoder.n_layers)
        with torch.no_grad():
            base_RGTH = rows.predicting(decoder.run(hidden_RSH, top, positions, mask))
        with self.adapters.select(running):
            tuned_RGTH = rows.predicting(decoder.run(hidden_RSH, top, positions, mask))
        # One row a world and prompt from here on: a prompt's responses are each other's baseline.
        tuned_RJTH = tuned_RGTH.reshape(len(running) * len(prompts), -1, *tuned_RGTH.shape[2:])
        base_RJTH = base_RGTH.reshape(tuned_RJTH.shape)
        leaf_RJTH = tuned_RJTH.detach().requires_grad_()
        weight_P = self._weights_of(prompts)
        divergence_KPJ = torch.full(welfare_KPJ.shape, math.nan, dtype=torch.float64)
        for row in range(len(leaf_RJTH)):
            k, p = divmod(row, len(prompts))
            if self.records[running[k]].stopped:
                continue
            with torch.no_grad():
                base_logits = decoder.logits(base_RJTH[row])
            loss, divergence_J = self.prompt_loss(
                decoder.logits(leaf_RJTH[row]),
                base_logits,
                rollouts.tokens_KPJT[k, p],
                rollouts.lengths_KPJ[k, p],
                welfare_KPJ[k, p].to(decoder.device),
                task.coefficient,
            )
            divergence_KPJ[k, p] = divergence_J.cpu()
            (float(weight_P[p]) * loss).backward()  # type: ignore[no-untyped-call]
        assert leaf_RJTH.grad is not None
        tuned_RJTH.backward(leaf_RJTH.grad)
        return self._worth(weight_P, welfare_KPJ, divergence_KPJ)

    def _worth(
        self, weight_P: np.ndarray, welfare_KPJ: Tensor, divergence_KPJ: Tensor
    ) -> dict[int, Worth]:
        """Estimates from the rollouts, of the active worlds."""
        weights = torch.from_numpy(weight_P)
        divergence_K = (weights * divergence_KPJ.mean(-1)).sum(-1)
        # Over the responses that have a reward; NaN if a prompt has none, which is shown as such.
        reward_K = (weights * welfare_KPJ.nanmean(-1)).sum(-1)
        self.shares.add_up([divergence_K, reward_K])
        welfare_K = reward_K - self.task.coefficient * divergence_K
        figures = torch.stack([welfare_K, reward_K, divergence_K], 1).tolist()
        active = set(self.active)
        return {
            world: Worth(*each)
            for world, each in zip(self.running, figures, strict=True)
            if world in active
        }


def _training_rows(rollouts: Rollouts) -> tuple[PackedRows, Tensor]:
    """Packed rows, world by world and prompt by prompt, and the bottom layers' output for them.

    A prompt's responses share as few rows as ROW_TOKENS allows: attention within a row grows with
    the square of its length.
    """
    worlds, prompts, samples, tokens = rollouts.tokens_KPJT.shape
    fitting = max(1, ROW_TOKENS // tokens)
    each = max(g for g in range(1, min(samples, fitting) + 1) if samples % g == 0)
    prompt_of_row = torch.arange(prompts, device=rollouts.tokens_KPJT.device)
    prompt_of_row = prompt_of_row.repeat_interleave(samples // each).repeat(worlds)
    responses_RGT = rollouts.tokens_KPJT.reshape(-1, each, tokens)
    rows = PackedRows(rollouts.prompts.take(prompt_of_row), responses_RGT)
    hidden = rollouts.response_hidden_KPJTH[..., : tokens - 1, :].flatten(0, 2)
    hidden_RSH = hidden.unflatten(0, (-1, each)).flatten(1, 2)
    return rows, torch.cat([rollouts.prompt_hidden_PSH[prompt_of_row], hidden_RSH], 1)
