"""Measurements of work with models, on one core: drawing, log-probabilities, training steps.

Seconds are those of the processor, of one thread, so that what else the machine does hardly counts.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from api_schemas.datasets import PromptLine
from api_schemas.rounds import RoundCreate
from api_schemas.training import PolicyGradient
from workers import base_models
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.randomness import uniforms
from workers.pool.refill import draw
from workers.quoting.plan import plan
from workers.quoting.trial import Size, trial
from workers.training.stacked_lora import StackedAdapters

from .passes import Adapters, Work, drawing, log_probabilities
from .shapes import Shape, of_config
from .stages import RoundSize, train

NEVER = frozenset({-1})
"""No token ends a response, so that all have the length that the formulas take."""
PROMPTS = ("Give me one tip for a rainy day.", "Suggest a simple breakfast for two.")
SETTINGS = PolicyGradient(steps=3, lora_rank=16, top_layers=8)


@dataclass(frozen=True)
class Measurement:
    """`held_out`: not fitted to. `numbers`: flops, logits and calls by the formulas."""

    kind: str
    model: str
    size: str
    seconds: float
    numbers: tuple[float, float, float]
    held_out: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """X prompts, J responses of T tokens, K worlds (0: the initial model alone)."""

    prompts: int
    responses: int
    tokens: int
    worlds: int = 0
    held_out: bool = False

    @property
    def text(self) -> str:
        named = "world" if self.worlds == 1 else "worlds"
        worlds = f", {self.worlds} {named}" if self.worlds else ""
        return f"{self.prompts} × {self.responses} × {self.tokens}{worlds}"


def smollm2() -> BaseModel:
    found = base_models.resolve("smollm2-135m-instruct")
    return base_models.load(found.name, found.revision, "cpu")


def tiny() -> BaseModel:
    found = base_models.resolve("tiny-enumerable")
    return base_models.load(found.name, found.revision, "cpu")


def untrained(hidden: int, intermediate: int, layers: int, heads: int, key_heads: int) -> BaseModel:
    """A model of another size with random weights and SmolLM2's tokenizer: it takes as long."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).requires_grad_(False).eval()
    return BaseModel(model=model, tokenizer=smollm2().tokenizer, folder=Path())


def shape_of(base: BaseModel, name: str) -> Shape:
    return of_config(name, base.model.config)


def processor_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measured_drawing(base: BaseModel, name: str, case: Case) -> Measurement:
    prompts = _prompts(base, case.prompts)
    shape = (case.responses, case.tokens)
    seconds = processor_seconds(
        lambda: draw(Decoder(base.model), prompts, lambda x: uniforms(shape, "scale", x), NEVER)
    )
    length = max(map(len, prompts))
    work = drawing(shape_of(base, name), case.prompts, length, case.responses, case.tokens)
    return _measurement("drawing", name, case, seconds, work)


def measured_passes(base: BaseModel, name: str, case: Case) -> Measurement:
    """log π of given responses under the initial model and the worlds."""
    shape = shape_of(base, name)
    tuned = Adapters(SETTINGS.lora_rank, min(SETTINGS.top_layers or 0, shape.layers))
    prompts = _prompts(base, case.prompts)
    tokens_XJT = torch.randint(1, 6, (case.prompts, case.responses, case.tokens))
    lengths_XJ = torch.full((case.prompts, case.responses), case.tokens)
    with closing(StackedAdapters.announced(base.model, SETTINGS, worlds=case.worlds)) as adapters:
        along = ResponseLogProbs(Decoder(base.model), adapters, prompts, tokens_XJT, lengths_XJ)
        seconds = processor_seconds(lambda: along([None, *range(case.worlds)]))
    work = Work()
    for prompt in prompts:
        work += log_probabilities(
            shape, len(prompt), case.responses, case.tokens, case.worlds, tuned
        )
    return _measurement("log-probabilities", name, case, seconds, work)


def measured_step(base: BaseModel, name: str, case: Case) -> Measurement:
    """A training step of all worlds, as `workers.quoting` tries one: the second."""
    shape = shape_of(base, name)
    lines = [PromptLine(prompt=text) for text in PROMPTS]
    planned = plan(_rules(name, case), max(2, case.worlds - 1), len(lines), case.responses)
    size = Size(case.worlds, case.prompts, case.responses)
    with closing(trial(base, planned, lines, size)) as trainer:
        steps = trainer.train()
        next(steps)
        seconds = processor_seconds(lambda: next(steps))
    step = RoundSize(
        groups=case.worlds - 1,
        prompts=0,  # nothing is evaluated
        prompt_tokens=max(len(base.prompt_tokens(text)) for text in PROMPTS),
        tokens=case.tokens,
        steps=1,
        step_prompts=case.prompts,
        samples=case.responses,
        adapters=Adapters(SETTINGS.lora_rank, min(SETTINGS.top_layers or 0, shape.layers)),
        counterfactuals="retrain",
    )
    return _measurement("training step", name, case, seconds, train(shape, step).model)


def _rules(name: str, case: Case) -> RoundCreate:
    return RoundCreate.model_validate(
        {
            "name": "a calibration",
            "base_model": name,
            "prompts_file_id": "file_" + "0" * 26,
            "generation": {"max_new_tokens": case.tokens},
            "regularizer": {"type": "kl", "coefficient": 1.0},
            "training": SETTINGS.model_dump() | {"samples_per_prompt": case.responses},
            "max_group_size": 10,
            "price_per_unit_micro_units": 1,
        }
    )


def _prompts(base: BaseModel, count: int) -> list[list[int]]:
    return [base.prompt_tokens(PROMPTS[x % len(PROMPTS)]) for x in range(count)]


def _measurement(kind: str, name: str, case: Case, seconds: float, work: Work) -> Measurement:
    numbers = (work.flops, work.logits, work.calls)
    return Measurement(kind, name, case.text, seconds, numbers, case.held_out)


Measure = Callable[[BaseModel, str, Case], Measurement]

CASES: Sequence[tuple[str, Measure, tuple[Case, ...]]] = (
    ("tiny-enumerable", measured_drawing, (Case(4, 8, 8), Case(8, 32, 16))),
    ("tiny-enumerable", measured_passes, (Case(8, 16, 8, 1), Case(8, 16, 8, 4))),
    ("22M", measured_drawing, (Case(2, 8, 8), Case(2, 32, 16))),
    ("22M", measured_passes, (Case(2, 8, 16, 1), Case(2, 16, 16, 4))),
    ("22M", measured_step, (Case(2, 4, 8, 1), Case(2, 4, 8, 4))),
    ("135M", measured_drawing, (Case(1, 8, 8), Case(2, 8, 16), Case(2, 32, 12, held_out=True))),
    (
        "135M",
        measured_passes,
        (Case(2, 8, 8, 1), Case(2, 8, 8, 4), Case(2, 16, 16, 2, held_out=True)),
    ),
    (
        "135M",
        measured_step,
        (Case(1, 4, 8, 1), Case(2, 4, 8, 2), Case(2, 4, 8, 4), Case(2, 4, 8, 9, held_out=True)),
    ),
    ("360M", measured_drawing, (Case(2, 8, 8, held_out=True),)),
    ("360M", measured_passes, (Case(1, 8, 8, 2, held_out=True),)),
    ("360M", measured_step, (Case(1, 4, 8, 2, held_out=True),)),
)
MODELS: dict[str, Callable[[], BaseModel]] = {
    "tiny-enumerable": tiny,
    "22M": lambda: untrained(288, 768, 8, 6, 2),
    "135M": smollm2,
    "360M": lambda: untrained(960, 2560, 32, 15, 5),
}
"""135M is SmolLM2; 360M has the shape of its larger sister, and nothing is fitted to it."""


def measure_all() -> list[Measurement]:
    """Each twice, of which the faster counts: the first warms up."""
    torch.set_num_threads(1)
    found: list[Measurement] = []
    held: dict[str, BaseModel] = {}
    for name, measure, cases in CASES:
        if name not in held:
            held = {name: MODELS[name]()}
        for case in cases:
            runs = [measure(held[name], name, case) for _ in range(2)]
            found.append(min(runs, key=lambda run: run.seconds))
            print(f"{name} {found[-1].kind} {case.text}: {found[-1].seconds:.3f} s", flush=True)
    return found
