"""How much of everything a round does, by its announcement and an assumed number of groups."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from api_schemas.rounds import RoundCreate
from api_schemas.training import NaturalGradient, PolicyGradient, RewardedSoups
from workers.mechanism.normalise import ScoreRange
from workers.stages.runs import Run, all_runs
from workers.stages.score import ScoredGroup, Scores
from workers.training.soups import grid_size


@dataclass(frozen=True)
class Plan:
    """`responses`: of a prompt in the pool; `holdout`: in the held-out pool, 0 where the pool is
    enumerated and serves for both. `batches`: how many steps are taken with how many models in one
    batch; natural_gradient's one look at the pool serves all of them. `evaluated`: held-out
    evaluations, summed over models. `candidates`: trained models that are valued, beside the
    initial one."""

    rules: RoundCreate
    groups: int
    prompts: int
    responses: int
    holdout: int
    trainings: int
    batches: tuple[tuple[int, int], ...]
    evaluated: int
    candidates: int

    @property
    def step_rows(self) -> int:
        """Responses that one model is trained on in one step."""
        gradient = self.rules.training.gradient
        each = (
            gradient.samples_per_prompt if isinstance(gradient, PolicyGradient) else self.responses
        )
        return self.step_prompts * each

    @property
    def step_prompts(self) -> int:
        return self.rules.training.gradient.prompts_at_once or self.prompts

    @property
    def steps(self) -> int:
        return sum(steps for steps, _ in self.batches)

    @property
    def scored(self) -> int:
        """Responses that each reward model scores in stage `score`; an enumerated pool is scored
        as the held-out one once more."""
        return self.prompts * (self.responses + (self.holdout or self.responses))


def plan(rules: RoundCreate, groups: int, prompts: int, responses: int) -> Plan:
    """What a round of so many groups and prompts does if nobody is excluded and no model stops
    early. `responses` are the pool's of a prompt. Raises RoundFailed as the round itself would, for
    a grid of mixes beyond its budget."""
    runs = all_runs(rules, _assumed_scores(groups))
    every = rules.training.gradient.evaluate_every
    return Plan(
        rules=rules,
        groups=groups,
        prompts=prompts,
        responses=responses,
        holdout=0 if rules.pool.method == "enumerate" else rules.pool.holdout_samples_per_prompt,
        trainings=len(runs),
        batches=(
            ((1, 1),)
            if isinstance(rules.training.gradient, NaturalGradient)
            else _batches([run.steps for run in runs])
        ),
        evaluated=sum(_evaluations(run.steps, every) for run in runs),
        candidates=_candidates(rules, runs),
    )


def _assumed_scores(groups: int) -> Scores:
    """Of groups that all have a preference; only their number counts."""
    scored = [
        ScoredGroup(f"group {i + 1}", 1, "", ScoreRange(0.0, 1.0), 0.0) for i in range(groups)
    ]
    one_NXJ = np.ones((groups, 1, 1))
    return Scores(scored, {}, one_NXJ, one_NXJ)


def _batches(budgets: list[int]) -> tuple[tuple[int, int], ...]:
    """(steps, models in the batch) from the first step on: a model leaves when its budget ends."""
    found, done = [], 0
    left = len(budgets)
    for budget, ending in groupby(sorted(budgets)):
        found.append((budget - done, left))
        done, left = budget, left - len(list(ending))
    return tuple(found)


def _evaluations(steps: int, every: int) -> int:
    """At intervals, and at the end of the budget."""
    return (steps - 1) // every + 1


def _candidates(rules: RoundCreate, runs: list[Run]) -> int:
    if isinstance(rules.training, RewardedSoups):
        return grid_size(len(runs), rules.training.grid_steps)
    if rules.counterfactuals == "checkpoints":
        every = rules.training.gradient.evaluate_every
        return sum(_evaluations(run.steps, every) for run in runs)
    return len(runs)
