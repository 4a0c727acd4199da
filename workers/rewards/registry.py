"""Every kind of reward model behind one interface; a new kind is one new file in this folder.

A method is a class with the `RewardModel` interface, registered with `@reward_model("name")`. The
name is the spec's `type`, or `method.name` where a spec is fitted to preference data. What its
spec may say is one new member of the union in `api_schemas/reward_models.py`: schemas are strict.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

import workers.rewards
from api_schemas.errors import BadReport, InvalidInput
from api_schemas.reward_models import LexicalSpec, PreferenceDataSpec, ReportCard
from workers.mechanism.arrays import Floats

Spec = LexicalSpec | PreferenceDataSpec
LoadFile = Callable[[str], bytes]
"""The bytes of an uploaded file, by its id."""

_FORMAT = 1


class RewardModel(Protocol):
    """What a method provides.

    `needs_data`: fitting reads an uploaded file, so that a spec can't be scored when submitted.
    `validate`: raises InvalidInput for what the schema can't see (an invalid pattern).
    `fit`: deterministic; the model, and its report card where it was fitted to data.
    `score`: one raw score for each pair, shape (len(responses),), any scale; a pair's score may not
    depend on the others in the call.
    `to_bytes`, `from_bytes`: JSON or safetensors, never pickle: loading must not run code. A model
    read back scores exactly as before.
    """

    needs_data: ClassVar[bool]

    @classmethod
    def validate(cls, spec: Any) -> None: ...

    @classmethod
    def fit(cls, spec: Any, load_file: LoadFile) -> tuple[Self, ReportCard | None]: ...

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats: ...

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_bytes(cls, data: bytes) -> Self: ...


_METHODS: dict[str, type[RewardModel]] = {}
Method = TypeVar("Method", bound=type[RewardModel])


def reward_model(name: str) -> Callable[[Method], Method]:
    """Register a class as the method `name`. Raises ValueError if the name is taken."""

    def register(method: Method) -> Method:
        if name in _METHODS:
            raise ValueError(f"reward model {name!r} is registered twice")
        _METHODS[name] = method
        return method

    return register


@dataclass(frozen=True, eq=False)
class FittedRewardModel:
    """A reward model ready to score, and its report card if it was fitted to data."""

    method: str
    model: RewardModel
    report_card: ReportCard | None

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Raw scores, float64 of shape (len(responses),); NaN and ∞ are left for the caller to see.

        Raises ValueError if the two lengths differ, BadReport if the model returns another shape.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses")
        scores = np.asarray(self.model.score(prompts, responses), dtype=np.float64)
        if scores.shape != (len(responses),):
            raise BadReport(
                f"reward model {self.method!r} returned scores of shape {scores.shape} for "
                f"{len(responses)} responses"
            )
        return scores

    def to_bytes(self) -> bytes:
        """A line of JSON (format, method, report card), then the method's own bytes."""
        card = self.report_card.model_dump() if self.report_card else None
        header = {"format": _FORMAT, "method": self.method, "report_card": card}
        return json.dumps(header, sort_keys=True).encode() + b"\n" + self.model.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        header_line, _, payload = data.partition(b"\n")
        header = json.loads(header_line)
        if header["format"] != _FORMAT:
            raise ValueError(f"reward model format {header['format']!r}, expected {_FORMAT}")
        card = header["report_card"]
        return cls(
            method=header["method"],
            model=_method(header["method"]).from_bytes(payload),
            report_card=ReportCard.model_validate(card) if card else None,
        )


def needs_data(spec: Spec) -> bool:
    """Whether fitting reads an uploaded file; without, a report can be probed when submitted."""
    return _method(_name(spec)).needs_data


def validate(spec: Spec) -> None:
    """Raise InvalidInput for what the schema can't see; `param` is a path from `reward_model`."""
    _method(_name(spec)).validate(spec)


def fit(spec: Spec, load_file: LoadFile) -> FittedRewardModel:
    """Fit the spec's model; the same spec and file bytes give the same model.

    Raises InvalidInput for a spec or a file that can't be used.
    """
    name = _name(spec)
    method = _method(name)
    method.validate(spec)
    model, report_card = method.fit(spec, load_file)
    return FittedRewardModel(name, model, report_card)


def _name(spec: Spec) -> str:
    return spec.method.name if isinstance(spec, PreferenceDataSpec) else spec.type


def _method(name: str) -> type[RewardModel]:
    methods = _all_methods()
    if name not in methods:
        raise InvalidInput(
            f"no reward model is called {name!r}; there are {', '.join(sorted(methods))}",
            param="reward_model",
        )
    return methods[name]


@cache
def _all_methods() -> dict[str, type[RewardModel]]:
    """Importing a module of this folder registers its method."""
    for module in pkgutil.iter_modules(workers.rewards.__path__):
        importlib.import_module(f"workers.rewards.{module.name}")
    return _METHODS
