"""The fields of a round's announcement as the form asks for them; named as the API's `param`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from api_schemas.rounds import (
    CounterfactualMethod,
    GenerationSettings,
    PaymentRule,
    PoolSettings,
    RoundCreate,
    ValuationBasis,
)
from api_schemas.training import (
    ElasticReset,
    NaturalGradient,
    PolicyGradient,
    PoolGradient,
    RewardedSoups,
)

Kind = Literal["text", "number", "money", "moment", "choice"]


@dataclass(frozen=True)
class Field:
    """`blank` says what an empty field means: the API's default, or null in so many words."""

    name: str
    label: str
    kind: Kind = "number"
    hint: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    blank_is_null: bool = False

    @property
    def options(self) -> list[tuple[str, str]]:
        return [(choice, choice) for choice in self.choices]


def _default(model: type, name: str) -> str:
    value = model.model_fields[name].default  # type: ignore[attr-defined]
    return "" if value is None else str(value)


def _choices(model: type, name: str) -> tuple[str, ...]:
    return get_args(model.model_fields[name].annotation)  # type: ignore[attr-defined]


def _number(path: str, model: type, name: str, label: str, hint: str = "") -> Field:
    return Field(f"{path}{name}", label, hint=hint, default=_default(model, name))


def _choice(
    path: str, model: type, name: str, label: str, choices: tuple[str, ...], hint: str = ""
) -> Field:
    return Field(f"{path}{name}", label, "choice", hint, _default(model, name), choices)


USUAL = (
    Field("name", "Name", "text", "The groups read it.", required=True),
    Field(
        "base_model",
        "Base model",
        "text",
        "π₀: one of those that the service allows.",
        "smollm2-135m-instruct",
        required=True,
    ),
    Field(
        "regularizer.coefficient",
        "λ, the price of departing from π₀",
        hint="Agent·reward units per unit of distance. Large: close to π₀. Small: bolder, and "
        "further from what the pool supports.",
        default="1.0",
        required=True,
    ),
    Field(
        "max_group_size",
        "Largest group",
        hint="The most agents that a group may report.",
        default="100",
        required=True,
    ),
    Field(
        "price_per_unit_micro_units",
        "Price of one unit",
        "money",
        "Money for one agent·reward unit, in the currency beside.",
        "1.00",
        required=True,
    ),
    Field("currency", "Currency", "text", "Three letters, as EUR.", "EUR", required=True),
    Field(
        "closes_at",
        "Closes at (UTC)",
        "moment",
        "The deadline of reports; it can't be moved. Empty: you close the round by hand.",
    ),
)

_POOL = (
    _choice("pool.", PoolSettings, "method", "Pool", _choices(PoolSettings, "method")),
    _number("pool.", PoolSettings, "samples_per_prompt", "Responses a prompt"),
    _number(
        "pool.",
        PoolSettings,
        "holdout_samples_per_prompt",
        "Held-out responses a prompt",
        "A second pool that decides early stopping.",
    ),
    _number(
        "pool.",
        PoolSettings,
        "fresh_samples_per_prompt",
        "Fresh responses a prompt",
        "Of the tuned model, to value it once more; 0 for none.",
    ),
    _number(
        "pool.",
        PoolSettings,
        "mixture_samples_per_prompt",
        "Mixture responses a prompt",
        "For valuation on the mixture.",
    ),
    _number("generation.", GenerationSettings, "max_new_tokens", "Tokens a response at most"),
)
_MECHANISM = (
    Field(
        "regularizer.type",
        "Distance from π₀",
        "choice",
        "kl in nats; l2 in squared probability.",
        "kl",
        ("kl", "l2"),
    ),
    _choice(
        "",
        RoundCreate,
        "counterfactuals",
        "Worlds without a group",
        get_args(CounterfactualMethod),
        "How they are found, which the payments rest on.",
    ),
    Field(
        "counterfactual_steps",
        "Steps without a group",
        hint="For early_stop, and only for it.",
    ),
    _choice("", RoundCreate, "value_on", "Models are valued on", get_args(ValuationBasis)),
    _choice("", RoundCreate, "payment_rule", "Payment rule", get_args(PaymentRule)),
)
_GRADIENT = (
    _number("training.", PolicyGradient, "steps", "Steps"),
    _number("training.", PolicyGradient, "prompts_per_step", "Prompts a step"),
    _number("training.", PolicyGradient, "learning_rate", "Learning rate"),
    _choice(
        "training.",
        PolicyGradient,
        "learning_rate_schedule",
        "Its schedule",
        _choices(PolicyGradient, "learning_rate_schedule"),
    ),
    _number("training.", PolicyGradient, "lora_rank", "LoRA rank"),
    _number("training.", PolicyGradient, "lora_alpha", "LoRA α"),
    Field(
        "training.top_layers",
        "Layers with adapters",
        hint="The last so many; empty: all.",
        default=_default(PolicyGradient, "top_layers"),
        blank_is_null=True,
    ),
    _number("training.", PolicyGradient, "gradient_clip", "Largest gradient norm"),
    _number("training.", PolicyGradient, "evaluate_every", "Steps between evaluations"),
    _number(
        "training.", PolicyGradient, "patience", "Patience", "Evaluations without a better one."
    ),
)
_POLICY_GRADIENT = (
    _number("training.", PolicyGradient, "samples_per_prompt", "Samples a prompt"),
    Field(
        "training.elastic_reset.every",
        "Elastic reset every so many steps",
        hint="Empty: none.",
    ),
    _number("training.elastic_reset.", ElasticReset, "decay", "Its decay"),
    _choice(
        "training.elastic_reset.",
        ElasticReset,
        "mode",
        "Its mode",
        _choices(ElasticReset, "mode"),
    ),
)
_SOUPS = (
    Field(
        "training.single.method",
        "Each reward model is trained by",
        "choice",
        default="policy_gradient",
        choices=("policy_gradient", "pool_gradient", "natural_gradient"),
    ),
    _number("training.", RewardedSoups, "reward_weight", "Weight of the reward"),
    _choice(
        "training.",
        RewardedSoups,
        "interpolation",
        "Adapters are mixed by",
        _choices(RewardedSoups, "interpolation"),
    ),
    _number("training.", RewardedSoups, "grid_steps", "Steps of the grid"),
    _number("training.", RewardedSoups, "max_candidates", "Candidates at most"),
)
_POLICIES = (
    Field("opens_at", "Opens at (UTC)", "moment", "Reports are refused before. Empty: at once."),
    _choice(
        "",
        RoundCreate,
        "on_bad_report",
        "A report that fails",
        _choices(RoundCreate, "on_bad_report"),
    ),
    _choice(
        "",
        RoundCreate,
        "on_negative_payment",
        "A negative payment",
        _choices(RoundCreate, "on_negative_payment"),
    ),
    _choice("", RoundCreate, "invoicing", "Invoices", _choices(RoundCreate, "invoicing")),
    _number("", RoundCreate, "seed", "Seed"),
)

ADVANCED: tuple[tuple[str, str, tuple[Field, ...]], ...] = (
    ("Pool and responses", "What models are compared on.", _POOL),
    ("Mechanism", "How worlds are found, valued and paid for.", _MECHANISM),
    (
        "Training",
        "",
        (
            Field(
                "training.method",
                "Method",
                "choice",
                "Fields of methods that are not chosen are left aside.",
                "policy_gradient",
                ("policy_gradient", "pool_gradient", "natural_gradient", "rewarded_soups"),
            ),
            *_GRADIENT,
        ),
    ),
    ("Training by policy_gradient", "", _POLICY_GRADIENT),
    (
        "Training by pool_gradient",
        "",
        (
            _number(
                "training.",
                PoolGradient,
                "trust_region",
                "Trust region",
                "A share of log N nats.",
            ),
        ),
    ),
    (
        "Training by natural_gradient",
        "",
        (
            _number("training.", NaturalGradient, "longest_step", "Longest step"),
            _number("training.", NaturalGradient, "ridge", "Damping"),
        ),
    ),
    ("Training by rewarded_soups", "", _SOUPS),
    ("Dates and policies", "", _POLICIES),
)


def fields() -> Iterator[Field]:
    """All of them, in the order of the page."""
    yield from USUAL
    for _, _, section in ADVANCED:
        yield from section


def defaults() -> dict[str, str]:
    return {field.name: field.default for field in fields()}
