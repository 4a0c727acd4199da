"""How a round's models are trained: the methods an announcement may choose from."""

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from api_schemas.base import Schema, tag_of


class AdapterTraining(Schema):
    """What all trainings share: LoRA adapters on the top layers, judged on the held-out pool."""

    steps: int = Field(12, ge=1, le=100_000)
    lora_rank: int = Field(16, ge=1, le=1024)
    lora_alpha: float = Field(32, gt=0)
    top_layers: int | None = Field(
        8, ge=1, le=10_000, description="Adapters on this many last layers; null: on all."
    )
    evaluate_every: int = Field(
        4, ge=1, le=100_000, description="Steps between held-out evaluations."
    )
    patience: int = Field(
        3,
        ge=1,
        le=100_000,
        description="Evaluations without a better held-out welfare before a world stops.",
    )

    @property
    def gradient(self) -> Self:
        """The settings of the gradient steps: these."""
        return self

    @property
    def prompts_at_once(self) -> int | None:
        """How many prompts a step takes; None: all of them."""
        return None


class GradientTraining(AdapterTraining):
    """What the trainings share that take many small steps, with Adam."""

    prompts_per_step: int = Field(4, ge=1, le=4096)
    learning_rate: float = Field(5e-4, gt=0, le=1)
    learning_rate_schedule: Literal["linear", "constant"] = Field(
        "linear", description="`linear` falls to 0 at the last step, as noise outweighs progress."
    )
    gradient_clip: float = Field(5.0, gt=0, description="Largest gradient norm of one world.")

    @property
    def prompts_at_once(self) -> int | None:
        return self.prompts_per_step


class ElasticReset(Schema):
    """Every k steps the policy falls back on its moving average, which starts anew.

    Noukhovitch, Lavoie, Strub & Courville, NeurIPS 2023. The optimiser's state is kept.
    """

    every: int = Field(10, ge=1, le=100_000, description="k, in steps.")
    decay: float = Field(0.995, ge=0, lt=1, description="Of the adapter's moving average, a step.")
    mode: Literal["elastic", "reset_to_ema", "reset_to_init"] = Field(
        "elastic",
        description="`elastic`: policy ← average, average ← initial adapter. The ablations: "
        "`reset_to_ema` leaves the average as it is, `reset_to_init` makes the policy initial.",
    )


class PolicyGradient(GradientTraining):
    """On-policy policy gradient on welfare itself, leave-one-out baseline."""

    method: Literal["policy_gradient"] = "policy_gradient"
    samples_per_prompt: int = Field(8, ge=2, le=4096)
    elastic_reset: ElasticReset | None = None

    @model_validator(mode="after")
    def _resets_within_the_run(self) -> Self:
        if self.elastic_reset and self.elastic_reset.every >= self.steps:
            raise ValueError(
                f"elastic_reset.every {self.elastic_reset.every} is not below steps {self.steps}: "
                "the policy would never be reset"
            )
        return self


class PoolGradient(GradientTraining):
    """Off-policy gradient of welfare on the shared pool, inside a trust region; draws nothing."""

    method: Literal["pool_gradient"] = "pool_gradient"
    trust_region: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Largest KL from the initial model, as a share of log N nats, that a world "
        "may reach on a prompt; beyond it the prompt only pulls back.",
    )


class NaturalGradient(AdapterTraining):
    """One natural gradient of welfare on the shared pool, and a walk along it.

    Kakade, NeurIPS 2001. The responses' own gradients, which hold nothing of any report, are found
    once for all worlds; each world's direction is then linear algebra, so that worlds cost little
    more than their held-out evaluations.
    """

    method: Literal["natural_gradient"] = "natural_gradient"
    steps: int = Field(5, ge=1, le=1000, description="Points of the walk along the direction.")
    evaluate_every: int = Field(
        1, ge=1, le=1000, description="Points between held-out evaluations."
    )
    patience: int = Field(
        1, ge=1, le=1000, description="Evaluations without a better held-out welfare: the end."
    )
    longest_step: float = Field(
        3.0,
        gt=0,
        le=1000,
        description="The walk's end, in natural gradient steps: 1 is the optimum of welfare's "
        "quadratic model on the pool; held-out responses, which it knows less of, ask for more.",
    )
    ridge: float = Field(
        0.1,
        gt=0,
        le=1e6,
        description="Damping, as a multiple of the mean curvature on the pool.",
    )


SingleTraining = Annotated[
    Annotated[PolicyGradient, Tag("policy_gradient")]
    | Annotated[PoolGradient, Tag("pool_gradient")]
    | Annotated[NaturalGradient, Tag("natural_gradient")],
    tag_of("method", "policy_gradient"),
]


class RewardedSoups(Schema):
    """One training per reward model from one initialisation, then interpolated adapters.

    Ramé et al., NeurIPS 2023. The candidates are the points of a simplex grid over the groups.
    """

    method: Literal["rewarded_soups"] = "rewarded_soups"
    single: SingleTraining = Field(
        PolicyGradient(), description="How each reward model's adapter is trained."
    )
    reward_weight: float = Field(
        10.0,
        gt=0,
        le=1e9,
        description="Weight of the reward in each training: announced, so that no adapter "
        "depends on another group's size.",
    )
    interpolation: Literal["average", "delta"] = Field(
        "average",
        description="`average`: of the adapters' matrices A and B, as in the paper; `delta`: of "
        "their products, exact, at a rank that grows with the groups.",
    )
    grid_steps: int = Field(
        4, ge=1, le=100, description="Coefficients are multiples of 1/grid_steps, and sum to 1."
    )
    max_candidates: int = Field(
        64, ge=2, le=10_000, description="The grid's budget; a larger grid is refused."
    )

    @property
    def gradient(self) -> PolicyGradient | PoolGradient | NaturalGradient:
        """The settings of the gradient steps."""
        return self.single

    @model_validator(mode="after")
    def _two_groups_fit(self) -> Self:
        if self.grid_steps + 1 > self.max_candidates:
            raise ValueError(
                f"a grid of grid_steps {self.grid_steps} has {self.grid_steps + 1} candidates for "
                f"two groups alone, beyond max_candidates {self.max_candidates}"
            )
        return self


Training = Annotated[
    Annotated[PolicyGradient, Tag("policy_gradient")]
    | Annotated[PoolGradient, Tag("pool_gradient")]
    | Annotated[NaturalGradient, Tag("natural_gradient")]
    | Annotated[RewardedSoups, Tag("rewarded_soups")],
    tag_of("method", "policy_gradient"),
]
