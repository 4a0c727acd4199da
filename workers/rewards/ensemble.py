"""An ensemble of reward models: members that differ by the seed of their fit, or by base model.

Members' scores are of different scales, so each is standardised on the training responses first,
z_m = (r_m − mean r_m)/std r_m, and then aggregated over the M members:

    mean             z̄ = Σ_m z_m/M
    median           the middle one; of an even number the mean of the two
    mean_minus_std   z̄ − √(Σ_m (z_m − z̄)²/M)
    min              min_m z_m

Eisenstein et al., "Helping or herding? Reward model ensembles mitigate but do not eliminate reward
hacking", 2023 (arXiv 2312.09244), §4. What the members disagree by, the same standard deviation, is
how far the reward that is used may be from the one that was meant: the ε of the incentive bound.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from api_schemas.errors import InvalidInput
from api_schemas.preference_methods import BradleyTerry, Ensemble, MemberMethod
from api_schemas.report_cards import Figure
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Split
from workers.rewards import registry
from workers.rewards.interfaces import Fit, FitContext, MemberScores, RewardModel
from workers.rewards.intervals import mean_figure
from workers.rewards.ranks import preferred
from workers.rewards.registry import preference_method

_AGGREGATES: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda z_MJ: z_MJ.mean(0),
    "median": lambda z_MJ: np.median(z_MJ, 0),
    "mean_minus_std": lambda z_MJ: z_MJ.mean(0) - z_MJ.std(0),
    "min": lambda z_MJ: z_MJ.min(0),
}


@dataclass(frozen=True, eq=False)
class Member:
    """A fitted model of a registered method, and what its scores are standardised by."""

    method: str
    model: RewardModel
    mean: float = 0.0
    deviation: float = 1.0

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Standardised, shape (len(responses),)."""
        scores: Floats = np.asarray(self.model.score(prompts, responses), dtype=np.float64)
        return (scores - self.mean) / self.deviation

    def standardised(self, comparisons: Sequence[Comparison], number: int) -> "Member":
        """Raises InvalidInput if the member scores all responses of the data alike."""
        responses = {(p.prompt, text) for p in comparisons for text in (p.chosen, p.rejected)}
        scores = self.score(*zip(*sorted(responses), strict=True))
        if not np.isfinite(scores).all() or scores.std() < 1e-9 * max(1.0, np.abs(scores).max()):
            raise InvalidInput(
                f"member {number} of the ensemble gives the responses scores from {scores.min()} "
                f"to {scores.max()}, which can't be put on one scale with the others'",
                param="file",
            )
        return replace(self, mean=float(scores.mean()), deviation=float(scores.std()))


@preference_method("ensemble")
@dataclass(frozen=True, eq=False)
class EnsembleReward:
    uses_model: ClassVar[bool] = True

    members: Sequence[Member]
    aggregate: str

    @classmethod
    def validate(cls, method: Ensemble) -> None:
        """Raises InvalidInput for what the members' method refuses."""
        for member in member_methods(method):
            registry.method_named(member.name).validate(member)

    @classmethod
    def fit(cls, split: Split, method: Ensemble, context: FitContext) -> Fit:
        """Fit the members one after another, each with all that its method does.

        Where members were fitted anew to all pairs, so is the ensemble, and the card describes the
        one of members fitted to the training pairs.
        """
        final, measured = [], []
        for number, member in enumerate(member_methods(method)):
            fit = registry.fit_method(member, split, context)
            trained = Member(member.name, fit.measured or fit.model)
            measured.append(trained.standardised(split.train, number))
            seen = split.everything if fit.measured else split.train
            final.append(Member(member.name, fit.model).standardised(seen, number))
            context.progress("members", number + 1, method.members)
        described = cls(measured, method.aggregate)
        return Fit(
            cls(final, method.aggregate),
            measured=described,
            figures=described.figures(split.holdout) if split.holdout else (),
        )

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """The aggregate of the members' standardised scores, shape (len(responses),)."""
        return self._aggregated(self._scores(prompts, responses))

    def aggregated(self, members: MemberScores) -> Floats:
        """`score`, from the members' scores."""
        return self._aggregated(members.scores_MJ)

    def member_scores(self, prompts: Sequence[str], responses: Sequence[str]) -> MemberScores:
        """Standardised scores, all of the same weight."""
        weights_M = np.full(len(self.members), 1 / len(self.members))
        return MemberScores(weights_M, self._scores(prompts, responses))

    def figures(self, holdout: Sequence[Comparison]) -> list[Figure]:
        """Accuracies of the members and of the whole, and the members' mean disagreement."""
        prompts = [pair.prompt for pair in holdout]
        chosen_MP = self._scores(prompts, [pair.chosen for pair in holdout])
        rejected_MP = self._scores(prompts, [pair.rejected for pair in holdout])
        decided = [not pair.is_tie for pair in holdout]
        found = []
        if any(decided):
            names = [pair.prompt for pair in holdout if not pair.is_tie]
            chosen_MD, rejected_MD = chosen_MP[:, decided], rejected_MP[:, decided]
            right_MD = preferred(chosen_MD - rejected_MD)
            whole_D = preferred(self._aggregated(chosen_MD) - self._aggregated(rejected_MD))
            found += [
                mean_figure(f"accuracy_of_member_{number}", right_D, names)
                for number, right_D in enumerate(right_MD)
            ]
            found.append(mean_figure("accuracy_of_members_mean", right_MD.mean(0), names))
            found.append(mean_figure("accuracy_of_ensemble", whole_D, names))
        disagreement = np.concatenate([chosen_MP.std(0), rejected_MP.std(0)])
        return [*found, mean_figure("disagreement", disagreement, prompts * 2)]

    def _scores(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        if not responses:
            return np.zeros((len(self.members), 0))
        return np.stack([member.score(prompts, responses) for member in self.members])

    def _aggregated(self, scores_MJ: Floats) -> Floats:
        return _AGGREGATES[self.aggregate](scores_MJ)

    def to_bytes(self) -> bytes:
        """A line of JSON that says how long each member's bytes are, then these."""
        blobs = [member.model.to_bytes() for member in self.members]
        header = {
            "aggregate": self.aggregate,
            "members": [
                {
                    "method": member.method,
                    "mean": member.mean,
                    "deviation": member.deviation,
                    "bytes": len(blob),
                }
                for member, blob in zip(self.members, blobs, strict=True)
            ],
        }
        return json.dumps(header, sort_keys=True).encode() + b"\n" + b"".join(blobs)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError if the members' bytes aren't those that the header tells of."""
        header_line, _, blobs = data.partition(b"\n")
        header = json.loads(header_line)
        ends = list(itertools.accumulate(each["bytes"] for each in header["members"]))
        if not ends or ends[-1] != len(blobs):
            raise ValueError(f"members of {ends[-1:] or 0} bytes in {len(blobs)} bytes")
        members = [
            Member(
                each["method"],
                registry.method_named(each["method"]).from_bytes(blobs[end - each["bytes"] : end]),
                each["mean"],
                each["deviation"],
            )
            for each, end in zip(header["members"], ends, strict=True)
        ]
        return cls(members, header["aggregate"])


def member_methods(method: Ensemble) -> list[MemberMethod]:
    """The members' methods: seeds seed, seed + 1, …, and the base models in turn."""
    field = "base_model" if isinstance(method.member, BradleyTerry) else "encoder"
    members = []
    for number in range(method.members):
        changes: dict[str, int | str] = {"seed": (method.seed + number) % 2**31}
        if method.base_models:
            changes[field] = method.base_models[number % len(method.base_models)]
        members.append(method.member.model_copy(update=changes))
    return members
