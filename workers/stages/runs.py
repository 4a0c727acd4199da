"""Which models a round trains: one run each, on the rewards of some groups.

A run never touches a group that doesn't count in it: neither its rewards, nor a response drawn
from a model trained on them. That is what keeps i's report out of the world without i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from api_schemas.errors import RoundFailed
from api_schemas.jobs import ReportInput
from api_schemas.rounds import RoundCreate
from api_schemas.training import RewardedSoups
from workers.mechanism.arrays import Floats, Mask
from workers.mechanism.methods import COUNTERFACTUALS
from workers.mechanism.worlds import GRAND, membership
from workers.stages.context import world_name
from workers.stages.score import Scores
from workers.training.soups import grid_size


@dataclass(frozen=True, eq=False)
class Run:
    """One model's training. `weights_N`: what each group's reward counts in it, 0 for outsiders."""

    name: str
    weights_N: Floats
    steps: int

    @property
    def members(self) -> list[int]:
        """The groups whose reports the run is made of."""
        return [int(i) for i in np.flatnonzero(self.weights_N)]


def runs(rules: RoundCreate, scores: Scores) -> list[Run]:
    """What the announced method trains.

    A group whose rewards are all 0 has nothing to say: it is in no run, so the world without it is
    the grand world. A world in which nobody has anything to say has its optimum in the initial
    model, and is not trained. Nor is, in an audit, what the lie does not change. Raises RoundFailed
    for reward models whose mixes would be more than announced, before anything is trained.
    """
    return [run for run in all_runs(rules, scores) if run.name not in scores.reused]


def unchanged_runs(rules: RoundCreate, truth: Scores, told: Scores, liar: int) -> tuple[str, ...]:
    """The runs of a round that a lie leaves as they are: of the same groups, without the liar.

    A lie that takes all preference away, or shows some where there was none, changes which groups
    are in a run, and which runs there are.
    """
    before = {run.name: run for run in all_runs(rules, truth)}
    return tuple(
        run.name
        for run in all_runs(rules, told)
        if liar not in run.members
        and run.name in before
        and np.array_equal(run.weights_N, before[run.name].weights_N)
    )


def all_runs(rules: RoundCreate, scores: Scores) -> list[Run]:
    speaks_N = np.any(scores.rewards_NXJ, axis=(1, 2))
    if isinstance(rules.training, RewardedSoups):
        return _one_for_each(rules.training, scores.group_ids, speaks_N)
    method = COUNTERFACTUALS[rules.counterfactuals]
    steps = rules.training.steps
    members_WN = membership(len(scores.groups)) * speaks_N
    worlds = [GRAND]
    if method.trains == "every_world":
        worlds += [1 + int(i) for i in np.flatnonzero(speaks_N)]
    return [
        Run(
            name=world_name(world, scores.group_ids),
            weights_N=members_WN[world] * scores.sizes_N,
            steps=steps if world == GRAND else rules.counterfactual_steps or steps,
        )
        for world in worlds
        if members_WN[world].any()
    ]


def _one_for_each(training: RewardedSoups, group_ids: Sequence[str], speaks_N: Mask) -> list[Run]:
    """One run for each reward model, at a weight that no other group's report can change."""
    speaking = int(speaks_N.sum())
    if speaking and grid_size(speaking, training.grid_steps) > training.max_candidates:
        raise RoundFailed(
            f"a grid of grid_steps {training.grid_steps} over the reward models that were reported "
            f"has more mixes than the announced max_candidates, {training.max_candidates}",
            code="grid_over_budget",
        )
    alone_NN = np.eye(len(group_ids)) * training.reward_weight
    return [
        Run(f"alone:{group_ids[i]}", alone_NN[i], training.gradient.steps)
        for i in map(int, np.flatnonzero(speaks_N))
    ]


def derived_from(run: Run, scores: Scores, reports: Sequence[ReportInput]) -> list[str]:
    """Digests of everything of a report that went into a run: report, data, fitted reward model."""
    by_id = {report.group_id: report for report in reports}
    found = []
    for i in run.members:
        report = by_id[scores.groups[i].group_id]
        found += [report.report_digest, scores.groups[i].model]
        found += report.pinned.files.values()
    return sorted(found)
