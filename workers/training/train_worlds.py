"""Training all worlds at once: one frozen base, stacked adapters, one batch of rollouts a step.

Every world draws its own rollouts from its own policy, with random numbers common to all, in one
batch. World −i never sees a reward of group i, nor a response drawn from a policy that did.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from api_schemas.training import PolicyGradient
from workers.base_models import BaseModel
from workers.decoder import Decoder, PackedRows
from workers.pool.logprobs import ROW_TOKENS, ResponseLogProbs
from workers.pool.pool import Pool, response_texts
from workers.pool.randomness import derived_seed, uniforms
from workers.pool.sampling import Rollouts, sample
from workers.training.objective import clip_by_world, prompt_loss
from workers.training.shares import Alone, Shares
from workers.training.stacked_lora import StackedAdapters

ScoreResponses = Callable[[list[str], list[str]], np.ndarray]
"""(prompts, responses) of length M → normalised rewards of all groups, (n, M), NaN on failure."""


@dataclass(frozen=True)
class TrainingTask:
    """What is trained: W worlds on X prompts, valued by n groups.

    `weights_WN` holds w_i where group i belongs to the world, else 0. `holdout_rewards_NXJ` are
    normalised rewards on the held-out pool, which decides early stopping and nothing else.
    """

    settings: PolicyGradient
    coefficient: float
    regularizer: str
    seed: int
    max_new_tokens: int
    prompts: list[str]
    prompt_tokens: list[list[int]]
    prompt_weights_X: np.ndarray
    weights_WN: np.ndarray
    score: ScoreResponses
    holdout: Pool
    holdout_rewards_NXJ: np.ndarray


@dataclass
class WorldRecord:
    """How far one world has come: its best adapter on the held-out pool, and what it was worth."""

    best_welfare: float
    best_step: int = 0
    best_state: dict[str, Tensor] | None = None
    misses: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class StepReport:
    """Welfare (agent·reward units) and KL (nats) of each world that took part in a step."""

    step: int
    worlds: list[int]
    welfare: list[float]
    kl: list[float]
    kind: str = field(default="rollouts")


class WorldsTrainer:
    """Reads top to bottom in `train`: sample, score, objective, step, evaluate."""

    def __init__(self, base: BaseModel, task: TrainingTask, shares: Shares | None = None):
        self.base, self.task, self.shares = base, task, shares or Alone()
        settings = task.settings
        self.decoder = Decoder(base.model)
        self.adapters = StackedAdapters.announced(
            base.model,
            settings,
            worlds=len(task.weights_WN),
            seed=derived_seed(task.seed, "adapters"),
        )
        self.parameters = self.adapters.parameters_by_world()
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.learning_rate)
        self.holdout = ResponseLogProbs(
            self.decoder,
            self.adapters,
            task.holdout.prompt_tokens,
            task.holdout.tokens_XJT,
            task.holdout.lengths_XJ,
            keep_hidden=True,
        )
        self.step = 0
        self._base_log_probs_XJ: Tensor | None = None
        initial_W = self._pool_welfare(np.exp(task.holdout.log_q_XJ)[None], None)[0]
        self.records = [WorldRecord(best_welfare=float(welfare)) for welfare in initial_W]

    @property
    def active(self) -> list[int]:
        return [world for world, record in enumerate(self.records) if not record.stopped]

    def close(self) -> None:
        """Give the base model, which others may use, its own layers back."""
        self.adapters.close()

    def train(self, save: Callable[[], None] = lambda: None) -> Iterator[StepReport]:
        """Run to the announced steps or until no world improves; yields a report a step."""
        settings = self.task.settings
        while self.step < settings.steps and self.active:
            prompts = self._prompts_of_step()
            rollouts = self._sample(prompts)
            welfare_KPJ = self._score(prompts, rollouts)
            report = self._gradient(prompts, rollouts, welfare_KPJ)
            self.shares.add_up([p.grad for p in self.parameters if p.grad is not None])
            clip_by_world(self.parameters, settings.gradient_clip)
            self._set_learning_rate()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1
            yield report
            if self.step % settings.evaluate_every == 0 or self.step == settings.steps:
                yield self._evaluate()
                save()

    def _set_learning_rate(self) -> None:
        """A function of the step alone, so that a resumed training needs no scheduler's state."""
        settings = self.task.settings
        left = 1 - self.step / settings.steps
        share = left if settings.learning_rate_schedule == "linear" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * share

    def _prompts_of_step(self) -> list[int]:
        """This step's prompts: every prompt once an epoch, in an order that depends on the seed."""
        count, each = len(self.task.prompts), self.task.settings.prompts_per_step
        places = range(self.step * each, (self.step + 1) * each)
        orders = {
            epoch: np.random.default_rng(derived_seed(self.task.seed, "epoch", epoch)).permutation(
                count
            )
            for epoch in {place // count for place in places}
        }
        chosen = [int(orders[place // count][place % count]) for place in places]
        return chosen[self.shares.rank :: self.shares.size]

    def _sample(self, prompts: list[int]) -> Rollouts:
        settings = self.task.settings
        shape = (settings.samples_per_prompt, self.task.max_new_tokens)
        uniforms_PJT = torch.stack(
            [uniforms(shape, self.task.seed, "rollouts", self.step, x) for x in prompts]
        )
        return sample(
            self.decoder,
            self.adapters,
            self.active,
            [self.task.prompt_tokens[x] for x in prompts],
            uniforms_PJT,
            self.base.eos_token_ids,
        )

    def _score(self, prompts: list[int], rollouts: Rollouts) -> Tensor:
        """S of every response in its world, shape (K, P, J); NaN where a member's reward fails."""
        shape = rollouts.lengths_KPJ.shape
        texts = response_texts(
            self.base, rollouts.tokens_KPJT.flatten(0, 2), rollouts.lengths_KPJ.flatten()
        )
        asked = [self.task.prompts[x] for x in prompts for _ in range(shape[2])] * shape[0]
        rewards_NKPJ = self.task.score(asked, texts).reshape(-1, *shape)
        weights_KN = self.task.weights_WN[self.active]
        # A plain product would let a failing model outside the world (0 · NaN) into it.
        terms = [
            np.where(weight_K[:, None, None] > 0, weight_K[:, None, None] * rewards_KPJ, 0.0)
            for weight_K, rewards_KPJ in zip(weights_KN.T, rewards_NKPJ, strict=True)
        ]
        return torch.from_numpy(np.sum(terms, axis=0))

    def _gradient(self, prompts: list[int], rollouts: Rollouts, welfare_KPJ: Tensor) -> StepReport:
        """Accumulate the gradient of every active world; returns the rollouts' welfare and KL.

        The loss runs backward prompt by prompt into the top layers' output, so that the logits of
        one prompt's responses are all that is held at once; then once through the top layers.
        """
        active, task, decoder = self.active, self.task, self.decoder
        rows, hidden_RSH = _training_rows(rollouts)
        positions, mask = rows.positions_RS, rows.mask_RSS
        top = range(self.adapters.first_layer, decoder.n_layers)
        with torch.no_grad():
            base_RGTH = rows.predicting(decoder.run(hidden_RSH, top, positions, mask))
        with self.adapters.select(active):
            tuned_RGTH = rows.predicting(decoder.run(hidden_RSH, top, positions, mask))
        # One row a world and prompt from here on: a prompt's responses are each other's baseline.
        tuned_RJTH = tuned_RGTH.reshape(len(active) * len(prompts), -1, *tuned_RGTH.shape[2:])
        base_RJTH = base_RGTH.reshape(tuned_RJTH.shape)
        leaf_RJTH = tuned_RJTH.detach().requires_grad_()
        n_prompts = len(prompts)
        weight_P = task.prompt_weights_X[prompts] * len(task.prompts)
        weight_P = weight_P / task.settings.prompts_per_step
        kl_KPJ = torch.empty_like(welfare_KPJ)
        for row in range(len(leaf_RJTH)):
            k, p = divmod(row, n_prompts)
            with torch.no_grad():
                base_logits = decoder.logits(base_RJTH[row])
            loss, kl_J = prompt_loss(
                decoder.logits(leaf_RJTH[row]),
                base_logits,
                rollouts.tokens_KPJT[k, p],
                rollouts.lengths_KPJ[k, p],
                welfare_KPJ[k, p].to(decoder.device),
                task.coefficient,
            )
            kl_KPJ[k, p] = kl_J.cpu()
            (float(weight_P[p]) * loss).backward()  # type: ignore[no-untyped-call]
        assert leaf_RJTH.grad is not None
        tuned_RJTH.backward(leaf_RJTH.grad)
        return self._report(active, weight_P, welfare_KPJ, kl_KPJ)

    def _report(
        self, active: list[int], weight_P: np.ndarray, welfare_KPJ: Tensor, kl_KPJ: Tensor
    ) -> StepReport:
        weights = torch.from_numpy(weight_P)
        kl_K = (weights * kl_KPJ.mean(-1)).sum(-1)
        # Over the responses that have a reward; NaN if a prompt has none, which is shown as such.
        reward_K = (weights * welfare_KPJ.nanmean(-1)).sum(-1)
        self.shares.add_up([kl_K, reward_K])
        welfare_K = reward_K - self.task.coefficient * kl_K
        return StepReport(self.step + 1, active, welfare_K.tolist(), kl_K.tolist())

    def _evaluate(self) -> StepReport:
        """Value the active worlds on the held-out pool; keep the best, stop those that stay."""
        active = self.active
        mine = list(range(len(self.task.holdout.prompts)))[self.shares.rank :: self.shares.size]
        if self._base_log_probs_XJ is None:
            self._base_log_probs_XJ = self.holdout([None], mine)[0]
        log_ratio_KXJ = self.holdout(list(active), mine) - self._base_log_probs_XJ
        self.shares.add_up([log_ratio_KXJ])
        log_policy = torch.from_numpy(self.task.holdout.log_q_XJ) + log_ratio_KXJ
        policy_KXJ = log_policy.softmax(-1).numpy()
        welfare_K, kl_K = self._pool_welfare(policy_KXJ, active)
        for world, welfare in zip(active, welfare_K, strict=True):
            self._judge(world, float(welfare))
        return StepReport(self.step, active, welfare_K.tolist(), kl_K.tolist(), kind="holdout")

    def _judge(self, world: int, welfare: float) -> None:
        record = self.records[world]
        if welfare > record.best_welfare:
            record.best_welfare, record.best_step = welfare, self.step
            record.best_state, record.misses = self.adapters.world_state(world), 0
            return
        record.misses += 1
        diverged = not math.isfinite(welfare)
        record.stopped = diverged or record.misses >= self.task.settings.patience

    def _pool_welfare(
        self, policy_KXJ: np.ndarray, worlds: list[int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """ASW and KL of policies on the held-out pool, one policy a world (or one for all)."""
        task = self.task
        weights_WN = task.weights_WN if worlds is None else task.weights_WN[worlds]
        welfare_WXJ = np.einsum("wn,nxj->wxj", weights_WN, task.holdout_rewards_NXJ)
        log_ratio = np.log(np.maximum(policy_KXJ, 1e-300)) - task.holdout.log_q_XJ
        kl_K = np.einsum("x,kxj->k", task.prompt_weights_X, policy_KXJ * log_ratio)
        value_W = np.einsum("x,wxj->w", task.prompt_weights_X, policy_KXJ * welfare_WXJ)
        return value_W - task.coefficient * kl_K, kl_K


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
