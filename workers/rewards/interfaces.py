"""What a reward model is, what its method provides, and what fitting it may use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from api_schemas.errors import InvalidInput
from api_schemas.report_cards import Curve, Figure
from api_schemas.reward_models import PinnedInputs
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Comparison, Split

LoadFile = Callable[[str], bytes]
"""The bytes of an uploaded file, by its id."""


Progress = Callable[[str, int, int], None]
"""Told what is counted, how many are done, and of how many."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Tells nobody."""


def counting(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Tells the progress in one thing."""
    return lambda done, total: progress(what, done, total)


@dataclass(frozen=True)
class FitContext:
    """What a fit may use beside its spec: uploaded files, and revisions of base models.

    `progress(what, done, total)` may be called as often as one likes. `owner` is whose the model
    will be: a judge's calls are recorded for its owner alone.
    """

    load_file: LoadFile
    pinned: PinnedInputs = field(default_factory=PinnedInputs)
    progress: Progress = no_progress
    owner: str | None = None

    def revision(self, base_model: str) -> str:
        """The revision that the base model had when the spec was submitted.

        Raises InvalidInput for a base model that was not pinned then.
        """
        try:
            return self.pinned.base_models[base_model]
        except KeyError:
            raise InvalidInput(
                f"base model {base_model!r} was not resolved when the report was submitted",
                param="reward_model",
            ) from None


class RewardModel(Protocol):
    """What every method provides.

    `uses_model`: fitting or scoring runs a neural network, on a GPU or all cores of a machine; such
    a model is not probed when it is reported, because the API loads no torch.
    `validate`: raises InvalidInput for what the schema can't see (an invalid pattern).
    `score`: one raw score for each pair, shape (len(responses),), any scale; a pair's score may not
    depend on the others in the call.
    `to_bytes`, `from_bytes`: JSON or safetensors, never pickle: loading must not run code. A model
    read back scores exactly as before.
    """

    uses_model: ClassVar[bool]

    @classmethod
    def validate(cls, spec: Any) -> None: ...

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats: ...

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_bytes(cls, data: bytes) -> Self: ...


class ReadyRewardModel(RewardModel, Protocol):
    """A method that is fitted to nothing: its spec, or an uploaded file, is the model."""

    @classmethod
    def build(cls, spec: Any, context: FitContext) -> Self: ...


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model, and what its method found out on the way, for the report card.

    `measured` is the model that the card describes where `model` was fitted anew to all data.
    """

    model: RewardModel
    measured: RewardModel | None = None
    figures: Sequence[Figure] = ()
    curves: Sequence[Curve] = ()


class PreferenceRewardModel(RewardModel, Protocol):
    """A method that is fitted to comparisons.

    `fit` is deterministic. Nothing of `split.holdout` may enter the measured model; it is passed so
    that a method can measure figures and curves of its own on it.
    """

    @classmethod
    def fit(cls, split: Split, method: Any, context: FitContext) -> Fit: ...


@dataclass(frozen=True, eq=False)
class MemberScores:
    """Scores of M members, on the scale of the aggregate, and mixing weights that sum to 1."""

    weights_M: Floats
    scores_MJ: Floats


@runtime_checkable
class MeasuresItself(Protocol):
    """A model that is fitted to nothing, and has figures of its own for its report card."""

    def measured_figures(self, comparisons: Sequence[Comparison]) -> list[Figure]: ...


@runtime_checkable
class HasMembers(Protocol):
    """A model made of others: `score` is the `aggregated` of what `member_scores` tells."""

    def member_scores(self, prompts: Sequence[str], responses: Sequence[str]) -> MemberScores: ...

    def aggregated(self, members: MemberScores) -> Floats: ...
