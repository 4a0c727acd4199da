"""How a reward model is fitted to preference data: the methods and their hyper-parameters.

Formulas and sources stand with each method in `workers/rewards`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api_schemas.base import Schema
from api_schemas.ids import FileId

BaseModelName = Annotated[str, Field(min_length=1, max_length=500)]
DEFAULT_BASE_MODEL = "smollm2-135m-instruct"
MAX_MEMBERS = 16


class HeldOut(Schema):
    """What every method has: which prompts are held out, and the seed of all that is drawn."""

    holdout_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of prompts held out to measure the model on; idle where the lines of "
        "the data name their split.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Draws the held-out prompts, and the model.")


class TfidfBradleyTerry(HeldOut):
    """Bradley-Terry model on TF-IDF of the response's words and word pairs; seconds on a CPU.

    P(chosen preferred) = σ(w · (tfidf(chosen) − tfidf(rejected))). It minimises
    Σ log loss + (regularization/2)·‖w‖² over the pairs.
    """

    name: Literal["tfidf_bradley_terry"]
    regularization: float = Field(1.0, gt=0, le=1e6, description="Larger: weights nearer 0.")
    max_features: int = Field(50_000, ge=1, le=1_000_000, description="The most frequent terms.")


class FineTuning(HeldOut):
    """Settings of a fine-tune: LoRA on the base model's top layers and a last-token head."""

    base_model: BaseModelName = DEFAULT_BASE_MODEL
    top_layers: int = Field(
        8, ge=1, le=1000, description="Layers that are tuned; those below run once, frozen."
    )
    lora_rank: int = Field(16, ge=1, le=256)
    lora_alpha: float = Field(32.0, gt=0, le=4096)
    weight_decay: float = Field(0.01, ge=0, le=1)
    epochs: int = Field(2, ge=1, le=100)
    batch_pairs: int = Field(16, ge=1, le=1024)
    max_tokens: int = Field(
        192,
        ge=8,
        le=32_768,
        description="Of prompt and response. What doesn't fit is cut: the prompt's beginning, "
        "but not below half of them, then the response's end.",
    )
    max_pairs: int = Field(
        2000, ge=1, le=1_000_000, description="Pairs trained on at most, drawn by the seed."
    )
    centering: float = Field(
        0.01, ge=0, le=10, description="η of the penalty η·(r⁺ + r⁻)², which centres the scores."
    )
    probe_regularization: float = Field(
        0.01,
        gt=0,
        le=100,
        description="ρ of the linear probe that the head starts from: ρ/2·‖w‖² on features scaled "
        "to differ by length 1 within a pair, in the mean.",
    )


class BradleyTerry(FineTuning):
    """Fine-tuning on −log σ(r⁺ − r⁻ − margin) + η·(r⁺ + r⁻)², with soft labels from votes."""

    name: Literal["bradley_terry"]
    learning_rate: float = Field(3e-4, gt=0, le=1, description="Falls linearly to 0.")
    dropout: float = Field(0.0, ge=0, lt=1, description="On the input of each LoRA layer.")


_MAX_TOKENS = (
    "That the encoder reads. A sentence encoder reads the end of a longer prompt and the beginning "
    "of a longer response; of a base model both count together, and the prompt gives way first."
)
_MAX_PAIRS = (
    "Pairs trained on at most, drawn by the seed: 20,000 fit into ten minutes on two cores."
)
Head = Literal["bt_mlp", "clf_mlp", "clf_lightgbm"]


class Embedding(HeldOut):
    """A head on frozen embeddings, which are computed once and cached; seconds to a few minutes.

    `bt_mlp` is trained on pairs; `clf_mlp` and `clf_lightgbm` classify single responses as chosen
    or rejected, which keeps their order (order consistency).
    """

    name: Literal["embedding"]
    head: Head = "bt_mlp"
    encoder: BaseModelName = Field(
        "all-minilm-l6-v2",
        description="A sentence encoder, or a base model, whose last hidden state is then taken.",
    )
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field([1024, 512], max_length=4)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    epochs: int = Field(30, ge=1, le=1000)
    patience: int = Field(3, ge=1, le=1000, description="Epochs without progress before it stops.")
    batch_pairs: int = Field(256, ge=1, le=65_536)
    trees: int = Field(600, ge=1, le=10_000, description="Of `clf_lightgbm`, at most.")
    max_tokens: int = Field(256, ge=8, le=32_768, description=_MAX_TOKENS)
    max_pairs: int = Field(20_000, ge=1, le=1_000_000, description=_MAX_PAIRS)


class WeightAveraged(FineTuning):
    """WARM: fine-tunes from one linear-probed head, averaged in weight space.

    Members differ by the order of the data, and by learning rate and dropout, which they take in
    turn from the lists.
    """

    name: Literal["weight_averaged"]
    top_layers: int = Field(
        4, ge=1, le=1000, description="Layers that are tuned; fewer, as there are several members."
    )
    members: int = Field(3, ge=2, le=MAX_MEMBERS)
    learning_rates: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [3e-4, 2e-4, 4e-4], min_length=1, max_length=MAX_MEMBERS
    )
    dropouts: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.0, 0.05, 0.1], min_length=1, max_length=MAX_MEMBERS
    )
    checkpoints: list[FileId] = Field(
        [],
        max_length=MAX_MEMBERS,
        description="Baklava: adapters of SFT checkpoints that members start from, in turn.",
    )
    checkpoint_alpha: float = Field(32.0, gt=0, le=4096, description="lora_alpha of these.")
    epochs: int = Field(1, ge=1, le=100)
    flipped_share: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="Share of labels flipped in a second run, which compares averaging weights "
        "with averaging predictions; 0 skips it, else fitting takes twice as long.",
    )


MemberMethod = Annotated[TfidfBradleyTerry | BradleyTerry | Embedding, Field(discriminator="name")]


class Ensemble(HeldOut):
    """Members that differ by seed or by base model; their disagreement becomes the round's ε."""

    name: Literal["ensemble"]
    member: MemberMethod = Field(
        default_factory=lambda: Embedding(name="embedding"),
        description="The members' method; its seed and its base model or encoder give way.",
    )
    members: int = Field(4, ge=2, le=MAX_MEMBERS)
    base_models: list[BaseModelName] = Field(
        [],
        max_length=MAX_MEMBERS,
        description="Base models or encoders of the members, in turn; empty: the member's own.",
    )
    aggregate: Literal["mean", "median", "mean_minus_std", "min"] = "mean"

    @model_validator(mode="after")
    def _members_must_differ(self) -> Self:
        if isinstance(self.member, TfidfBradleyTerry):
            raise ValueError(
                "member: 'tfidf_bradley_terry' gives the same model for every seed; take "
                "'embedding' or 'bradley_terry'"
            )
        return self


class PairwiseCalibrated(HeldOut):
    """Members and mixing weights whose weighted share of preferring members matches the votes."""

    name: Literal["pairwise_calibrated"]
    members: int = Field(
        4, ge=1, le=8, description="k, at most; a step that doesn't help is not taken."
    )
    curve_to: int = Field(
        8, ge=1, le=8, description="The report card tells the held-out error for k = 1 … this."
    )
    encoder: BaseModelName = "all-minilm-l6-v2"
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field([16], max_length=4)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=10)
    epochs: int = Field(60, ge=1, le=1000)
    max_tokens: int = Field(256, ge=8, le=32_768, description=_MAX_TOKENS)
    max_pairs: int = Field(20_000, ge=1, le=1_000_000, description=_MAX_PAIRS)


PreferenceMethod = Annotated[
    TfidfBradleyTerry | BradleyTerry | Embedding | WeightAveraged | Ensemble | PairwiseCalibrated,
    Field(discriminator="name"),
]
