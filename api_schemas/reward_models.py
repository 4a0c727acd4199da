"""What a report may name as its reward model, and reward models that are made ahead of a round."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api_schemas import examples
from api_schemas.base import Schema, Timestamp
from api_schemas.files import FilePurpose
from api_schemas.ids import FileId, JobId, RerankingId, RewardModelId, Sha256
from api_schemas.language_models import LanguageModelSpec, LocalModel
from api_schemas.lexical import LexicalSpec
from api_schemas.preference_methods import (
    BaseModelName,
    BradleyTerry,
    Embedding,
    Ensemble,
    PairwiseCalibrated,
    PreferenceMethod,
    WeightAveraged,
)
from api_schemas.report_cards import ReportCard

Members = Literal["aggregate", "mixture"]
"""How a reward model that has members enters a round: by its aggregate score, or `mixture`: each
member's scores are normalised on the pool, and the rewards are their mean by mixing weights."""


class PreferenceDataSpec(Schema):
    """A reward model fitted to an uploaded file of preferences."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "preference_data",
                    "file_id": "file_01jd2m8x3k5v7w9y0a1b2c3d4e",
                    "method": {"name": "tfidf_bradley_terry", "regularization": 1.0},
                }
            ]
        }
    )

    type: Literal["preference_data"]
    file_id: FileId
    method: PreferenceMethod
    members: Members = Field(
        "aggregate", description="`mixture` needs a method with members: an ensemble of some kind."
    )


class AdapterSpec(Schema):
    """An uploaded PEFT adapter for sequence classification with one label.

    The file is its `adapter_model.safetensors`: LoRA matrices and the weights of `score`. Rank and
    layers are read off the tensors; what they can't tell is in `adapter_config.json` and named
    here.
    """

    type: Literal["adapter"]
    file_id: FileId
    base_model: BaseModelName
    lora_alpha: float = Field(gt=0, le=4096)
    use_rslora: bool = Field(False, description="Scale by alpha/√rank instead of alpha/rank.")
    max_tokens: int = Field(1024, ge=8, le=32_768, description="Of prompt and response.")


class TrainedSpec(Schema):
    """A reward model of your own that was made ahead; its job must have succeeded."""

    type: Literal["trained"]
    reward_model_id: RewardModelId
    members: Members = "aggregate"


class JudgeSpec(Schema):
    """A language model that scores each response from 1 to 10, by criteria in words.

    With preference data to evaluate it on, its report card has the share of pairs in which it
    prefers `chosen`, by majority over both orders of the two responses, `samples` in each.
    """

    type: Literal["judge"]
    judge: LanguageModelSpec
    criteria: str = Field(
        min_length=1, max_length=4000, description="What makes a response good, in words."
    )
    samples: int = Field(
        1, ge=1, le=15, description="Judgements of a response, of which the mean counts."
    )
    max_tokens: int = Field(128, ge=1, le=4096, description="Of the reasons before a score.")


NewRewardModel = Annotated[
    LexicalSpec | PreferenceDataSpec | AdapterSpec | JudgeSpec, Field(discriminator="type")
]
RewardModelSpec = Annotated[
    LexicalSpec | PreferenceDataSpec | AdapterSpec | TrainedSpec | JudgeSpec,
    Field(discriminator="type"),
]
"""The reward model of a report; its raw scores, of any scale, are normalised on the pool."""


class PinnedInputs(Schema):
    """What the names in a spec stood for when it was submitted: nothing else is used later."""

    files: dict[FileId, Sha256] = Field(default_factory=dict)
    base_models: dict[str, Sha256] = Field(
        default_factory=dict, description="Revisions of base models and encoders."
    )
    reward_models: dict[RewardModelId, Sha256] = Field(default_factory=dict)


@dataclass(frozen=True)
class NamedFile:
    """A file that a spec names, by the field that does."""

    param: str
    file_id: str
    purpose: FilePurpose


def named_files(spec: RewardModelSpec) -> list[NamedFile]:
    """Every uploaded file that the spec names; `param` is a path from `reward_model`."""
    if isinstance(spec, AdapterSpec):
        return [NamedFile("reward_model.file_id", spec.file_id, "adapter")]
    if not isinstance(spec, PreferenceDataSpec):
        return []
    found = [NamedFile("reward_model.file_id", spec.file_id, "preferences")]
    if isinstance(spec.method, WeightAveraged):
        found += [
            NamedFile(f"reward_model.method.checkpoints[{i}]", file_id, "adapter")
            for i, file_id in enumerate(spec.method.checkpoints)
        ]
    return found


def named_base_models(spec: RewardModelSpec) -> Mapping[str, str]:
    """Every base model or encoder that the spec names, by the field that does."""
    if isinstance(spec, AdapterSpec):
        return {"reward_model.base_model": spec.base_model}
    if isinstance(spec, JudgeSpec) and isinstance(spec.judge, LocalModel):
        return {"reward_model.judge.base_model": spec.judge.base_model}
    if isinstance(spec, PreferenceDataSpec):
        return _base_models_of(spec.method, "reward_model.method")
    return {}


def _base_models_of(method: PreferenceMethod, param: str) -> dict[str, str]:
    match method:
        case BradleyTerry() | WeightAveraged():
            return {f"{param}.base_model": method.base_model}
        case Embedding() | PairwiseCalibrated():
            return {f"{param}.encoder": method.encoder}
        case Ensemble() if method.base_models:
            return {f"{param}.base_models[{i}]": name for i, name in enumerate(method.base_models)}
        case Ensemble():
            return _base_models_of(method.member, f"{param}.member")
    return {}


class RewardModelCreate(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Teachers, spring",
                    "reward_model": {
                        "type": "preference_data",
                        "file_id": "file_01jd2m8x3k5v7w9y0a1b2c3d4e",
                        "method": {"name": "embedding", "head": "clf_mlp"},
                    },
                }
            ]
        }
    )

    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    reward_model: NewRewardModel
    evaluation_file_id: FileId | None = Field(
        None,
        description="Preference data that the model isn't fitted to. For `preference_data` it is "
        "the report card's out-of-distribution data, for others all the data that it has.",
    )


class RewardModel(Schema):
    """A reward model made ahead of a round; its owner alone sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.REWARD_MODEL]})

    object: Literal["reward_model"] = "reward_model"
    id: RewardModelId
    name: str
    reward_model: NewRewardModel
    evaluation_file_id: FileId | None
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    digest: Sha256 | None = Field(description="Of the fitted model; null until the job succeeded.")
    report_card: ReportCard | None
    created_at: Timestamp


class FittedResult(Schema):
    """What the stage `fit_reward_model` leaves for the service to publish."""

    model: Sha256 = Field(description="Of the fitted model's bytes, in the artifact store.")
    method: str = Field(
        description="The spec's type (`local_judge` for a judge that is a base model) or, for "
        "preference data, its method's name."
    )
    uses_model: bool = Field(description="Whether scoring runs a neural network.")
    has_members: bool = Field(description="Whether a report may say `members: mixture` of it.")
    report_card: ReportCard | None
    plot_sha256: Sha256 | None = Field(description="The card drawn as SVG; null without a card.")


class Candidates(Schema):
    prompt: str = Field(max_length=32_768)
    responses: list[Annotated[str, Field(max_length=32_768)]] = Field(min_length=1, max_length=1024)


class RerankingCreate(Schema):
    """Best-of-n: of each prompt's responses, the one that the reward model scores highest."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "prompt": "How do I reset my password?",
                            "responses": ["No idea.", "Open Settings and choose Account, please."],
                        }
                    ]
                }
            ]
        }
    )

    items: list[Candidates] = Field(min_length=1, max_length=1000)


class Reranked(Schema):
    order: list[int] = Field(description="Places of the responses, best first; ties keep places.")
    scores: list[float] = Field(description="Raw scores, in the responses' own order.")
    kl_bound: float = Field(
        description="log n − (n−1)/n nats: what best-of-n of samples of a model is away from it at "
        "most."
    )


class RerankedResult(Schema):
    """What the stage `rerank` leaves for the service to publish: an entry for each item."""

    result: list[Reranked]


class Reranking(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.RERANKING]})

    object: Literal["reranking"] = "reranking"
    id: RerankingId
    reward_model_id: RewardModelId
    job_id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    result: list[Reranked] | None = Field(description="An entry an item; null until it succeeded.")
    created_at: Timestamp
