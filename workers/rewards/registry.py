"""Every kind of reward model by its name; a new kind is one new file in this folder.

A method is a class with an interface of `workers.rewards.interfaces`: `ReadyRewardModel`,
registered by `@reward_model(name)` under its spec's `type`, or `PreferenceRewardModel`, registered
by `@preference_method(name)` under its spec's `method.name`. What its spec may say is one new
member of a union in `api_schemas`: schemas are strict. The API process imports every file here, so
that none may import torch, transformers or LightGBM before it is used.
"""

import importlib
import io
import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, Self, TypeVar

import numpy as np

import workers.rewards
from api_schemas.errors import BadReport, InvalidInput
from api_schemas.language_models import LocalModel
from api_schemas.lexical import LexicalSpec
from api_schemas.preference_methods import PreferenceMethod
from api_schemas.report_cards import ReportCard
from api_schemas.reward_models import AdapterSpec, JudgeSpec, PreferenceDataSpec
from workers.mechanism.arrays import Floats
from workers.preferences.comparison import Preferences, Split
from workers.preferences.formats import read_preferences
from workers.preferences.splitting import split_by_prompt
from workers.rewards.assessment import assess, assess_ready
from workers.rewards.interfaces import (
    Fit,
    FitContext,
    HasMembers,
    MemberScores,
    PreferenceRewardModel,
    ReadyRewardModel,
    RewardModel,
)

Spec = LexicalSpec | PreferenceDataSpec | AdapterSpec | JudgeSpec

_FORMAT = 2
_READY: dict[str, type[ReadyRewardModel]] = {}
_FITTED: dict[str, type[PreferenceRewardModel]] = {}
_DERIVED: dict[str, type[RewardModel]] = {}
Ready = TypeVar("Ready", bound=type[ReadyRewardModel])
Fitted = TypeVar("Fitted", bound=type[PreferenceRewardModel])
Derived = TypeVar("Derived", bound=type[RewardModel])


def reward_model(name: str) -> Callable[[Ready], Ready]:
    """Register a class that needs no fitting. Raises ValueError if the name is taken."""

    def register(method: Ready) -> Ready:
        _require_free(name)
        _READY[name] = method
        return method

    return register


def preference_method(name: str) -> Callable[[Fitted], Fitted]:
    """Register a class that is fitted to comparisons. Raises ValueError if the name is taken."""

    def register(method: Fitted) -> Fitted:
        _require_free(name)
        _FITTED[name] = method
        return method

    return register


def derived_model(name: str) -> Callable[[Derived], Derived]:
    """Register a class that no spec names: a stage makes it of another model, to be read back."""

    def register(method: Derived) -> Derived:
        _require_free(name)
        _DERIVED[name] = method
        return method

    return register


def _require_free(name: str) -> None:
    if name in _READY or name in _FITTED or name in _DERIVED:
        raise ValueError(f"reward model {name!r} is registered twice")


@dataclass(frozen=True, eq=False)
class FittedRewardModel:
    """A reward model ready to score, and its report card if there was data to measure it on."""

    method: str
    model: RewardModel
    report_card: ReportCard | None

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Raw scores, float64 of shape (len(responses),); NaN and ∞ are left for the caller to see.

        Raises ValueError if the two lengths differ, BadReport if the model returns another shape.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses")
        return self._checked(self.model.score(prompts, responses), len(responses))

    def score_with_members(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> tuple[Floats, MemberScores | None]:
        """As `score` and `member_scores`; members, which may be neural, run once."""
        if not isinstance(self.model, HasMembers):
            return self.score(prompts, responses), None
        members = self.model.member_scores(prompts, responses)
        return self._checked(self.model.aggregated(members), len(responses)), members

    def _checked(self, found: Floats, responses: int) -> Floats:
        scores = np.asarray(found, dtype=np.float64)
        if scores.shape != (responses,):
            raise BadReport(
                f"reward model {self.method!r} returned scores of shape {scores.shape} for "
                f"{responses} responses"
            )
        return scores

    def member_scores(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> MemberScores | None:
        """Each member's scores; None for a model that has no members."""
        if not isinstance(self.model, HasMembers):
            return None
        return self.model.member_scores(prompts, responses)

    @property
    def uses_model(self) -> bool:
        return self.model.uses_model

    def to_bytes(self) -> bytes:
        """A line of JSON (format, method, report card), then the method's own bytes."""
        card = self.report_card.model_dump() if self.report_card else None
        header = {"format": _FORMAT, "method": self.method, "report_card": card}
        return json.dumps(header, sort_keys=True).encode() + b"\n" + self.model.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        header, payload = _opened(data)
        card = header["report_card"]
        return cls(
            method=header["method"],
            model=method_named(header["method"]).from_bytes(payload),
            report_card=ReportCard.model_validate(card) if card else None,
        )


def saved_method(data: bytes) -> type[RewardModel]:
    """The method of a model that `FittedRewardModel.to_bytes` saved, without reading the model; its
    first line is enough."""
    return method_named(_opened(data)[0]["method"])


def _opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the method's own bytes. Raises ValueError for another format."""
    header_line, _, payload = data.partition(b"\n")
    header: dict[str, Any] = json.loads(header_line)
    if header["format"] != _FORMAT:
        raise ValueError(f"reward model format {header['format']!r}, expected {_FORMAT}")
    return header, payload


def can_be_probed(spec: Spec) -> bool:
    """Whether a report can be scored when it is submitted: its model is ready, and light. A judge
    elsewhere is neither: it takes its time, and costs."""
    return not isinstance(spec, PreferenceDataSpec | JudgeSpec) and not uses_model(spec)


def uses_model(spec: Spec) -> bool:
    """Whether fitting or scoring runs a neural network."""
    return method_named(_name(spec)).uses_model


def validate(spec: Spec) -> None:
    """Raise InvalidInput for what the schema can't see; `param` is a path from `reward_model`."""
    method = method_named(_name(spec))
    if not isinstance(spec, PreferenceDataSpec):
        method.validate(spec)
        return
    method.validate(spec.method)
    if spec.members == "mixture" and not hasattr(method, "member_scores"):
        raise InvalidInput(
            f"members 'mixture': a model of method {spec.method.name!r} has no members",
            param="reward_model.members",
        )


def fit(
    spec: Spec, context: FitContext, evaluation: Preferences | None = None
) -> FittedRewardModel:
    """Fit the spec's model and measure it; the same spec and inputs give the same model.

    `evaluation` is data that it isn't fitted to. Raises InvalidInput for a spec or a file that
    can't be used.
    """
    validate(spec)
    if not isinstance(spec, PreferenceDataSpec):
        name = _name(spec)
        model = _ready(name).build(spec, context)
        card = assess_ready(model, evaluation) if evaluation else None
        return FittedRewardModel(name, model, card)
    data = read_preferences(io.BytesIO(context.load_file(spec.file_id)))
    split = split_by_prompt(data.comparisons, spec.method.holdout_share, spec.method.seed)
    fit = fit_method(spec.method, split, context)
    card = assess(fit, split, data.validation, evaluation)
    return FittedRewardModel(spec.method.name, fit.model, card)


def fit_method(method: PreferenceMethod, split: Split, context: FitContext) -> Fit:
    """Fit a method to comparisons, without a report card: for members of an ensemble, say."""
    return _fitted(method.name).fit(split, method, context)


def _name(spec: Spec) -> str:
    if isinstance(spec, JudgeSpec) and isinstance(spec.judge, LocalModel):
        return "local_judge"
    return spec.method.name if isinstance(spec, PreferenceDataSpec) else spec.type


def method_named(name: str) -> type[RewardModel]:
    """The registered method. Raises InvalidInput (`reward_model`) for an unknown name."""
    _import_methods()
    return _READY.get(name) or _DERIVED.get(name) or _fitted(name)


def _ready(name: str) -> type[ReadyRewardModel]:
    _import_methods()
    return _READY.get(name) or _unknown(name)


def _fitted(name: str) -> type[PreferenceRewardModel]:
    _import_methods()
    return _FITTED.get(name) or _unknown(name)


def _unknown(name: str) -> NoReturn:
    known = ", ".join(sorted({**_READY, **_FITTED}))
    raise InvalidInput(
        f"no reward model is called {name!r}; there are {known}", param="reward_model"
    )


@cache
def _import_methods() -> None:
    """Importing a module of this folder registers its method."""
    for module in pkgutil.iter_modules(workers.rewards.__path__):
        importlib.import_module(f"workers.rewards.{module.name}")
