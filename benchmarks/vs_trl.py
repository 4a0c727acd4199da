"""All n + 1 worlds by our trainers, against TRL's RLOOTrainer once a world, side by side.

The same model, prompts, reward models, objective, LoRA layers and rank, and number of responses a
world; but for natural_gradient, which takes none, the same steps of Adam. Each side is a process of
its own; they take turns step by step. A side's seconds are all it takes from the loaded model to
the saved adapters of all worlds: for our sides that includes drawing and scoring the pools and
every held-out evaluation, which TRL has none of. Then one judge values the grand world's adapter of
each on fresh samples, drawn with common random numbers: ASW = E[Σ wᵢ rᵢ − λ KL], KL exact over the
vocabulary along each response.

`vs_trl.py tune` trains TRL's grand world alone at several learning rates, and keeps its figures
too: they say whether TRL is treated fairly.
"""

import gc
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import NAME, base_model, record
from turns import Program, Turns, take_turns

from api_schemas.datasets import PromptLine
from api_schemas.lexical import LengthFeature, LexicalSpec
from api_schemas.training import NaturalGradient, PolicyGradient, PoolGradient
from client.demo.settings import PERSONAL, PLAIN
from workers import base_models
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats
from workers.mechanism.normalise import ScoreRange, score_range
from workers.mechanism.worlds import membership
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.pool import Pool, response_texts, sample_pool
from workers.pool.randomness import uniforms
from workers.pool.sampling import sample
from workers.rewards.group_rewards import GroupRewards
from workers.rewards.lexical import LexicalReward
from workers.training.registry import TRAINERS
from workers.training.stacked_lora import StackedAdapters, save_peft
from workers.training.task import TrainingTask

PROMPTS = (
    "Give me one tip for a rainy day.",
    "What should I plant on a balcony?",
    "Suggest a simple breakfast.",
    "How can I sleep better tonight?",
)
BRIEF = LexicalSpec(
    type="lexical", features=[LengthFeature(type="length", target_words=8, weight=1.0)]
)
SPECS = (BRIEF, PERSONAL, PLAIN)
SIZES = np.array([3.0, 7.0, 5.0])
WEIGHTS_WN = membership(len(SPECS)) * SIZES
TOKENS, COEFFICIENT, SEED = 16, 1.25, 7
SHARED: dict[str, Any] = {
    "steps": 4,
    "prompts_per_step": 2,
    "learning_rate": 1.2e-3,
    "evaluate_every": 2,
}
POLICY = PolicyGradient(**SHARED, samples_per_prompt=8)
OURS = (POLICY, PoolGradient(**SHARED), NaturalGradient())
RESPONSES = POLICY.steps * POLICY.prompts_per_step * POLICY.samples_per_prompt
"""Drawn by each world, or by all together as the pool."""
HELD_OUT, JUDGED = 8, 48
"""Responses a prompt."""

HALF = torch.cuda.is_available()
"""TRL runs in bfloat16 where our sides do. On a CPU without instructions for it a product of one
layer took 2 (16 rows) to 6 times (232 rows) as long as in float32."""
LEARNING_RATES = (5e-4, 1.2e-3, 2.5e-3)
"""That `tune` gives TRL."""
THEIR_LEARNING_RATE = 1.2e-3
"""That TRL has in the comparison."""


def draw(base: BaseModel, name: str, samples: int) -> Pool:
    lines = [PromptLine(prompt=prompt) for prompt in PROMPTS]
    return sample_pool(base, lines, samples=samples, max_new_tokens=TOKENS, labels=(SEED, name))


def draw_pool(base: BaseModel) -> Pool:
    """The pool: it sets the scale of rewards, and pool_gradient trains on it."""
    return draw(base, "pool", RESPONSES // len(PROMPTS))


def ranges_on(pool: Pool) -> list[ScoreRange]:
    prompts, texts = pool.flat_texts()
    return [
        score_range(LexicalReward(spec).score(prompts, texts).reshape(len(PROMPTS), -1), spec.type)
        for spec in SPECS
    ]


def group_rewards(ranges: Sequence[ScoreRange]) -> GroupRewards:
    return GroupRewards([LexicalReward(spec) for spec in SPECS], ranges)


Settings = PolicyGradient | PoolGradient | NaturalGradient


def ours(turns: Turns, settings: Settings, ranges: list[ScoreRange], folder: Path) -> None:
    """All worlds at once."""
    base, rewards = base_model(), group_rewards(ranges)
    turns.begin()
    with closing(TRAINERS[settings.method](base, _task(base, settings, rewards))) as trainer:
        for report in trainer.train():
            if report.kind != "holdout":  # an evaluation belongs to its step's turn
                turns.pass_on()
        for world, found in enumerate(trainer.records):
            if found.best_state is not None:
                save_peft(
                    folder / str(world),
                    found.best_state,
                    base_model=NAME,
                    rank=settings.lora_rank,
                    alpha=settings.lora_alpha,
                    layers=list(range(trainer.adapters.first_layer, trainer.decoder.n_layers)),
                )
    steps = [each.best_step for each in trainer.records]
    turns.end({"method": settings.method, "steps": trainer.step, "best_step_of_each_world": steps})


def _task(base: BaseModel, settings: Settings, rewards: GroupRewards) -> TrainingTask:
    holdout = draw(base, "holdout", HELD_OUT)
    # policy_gradient draws its own responses, and doesn't look at the pool.
    pool = holdout if settings.method == "policy_gradient" else draw_pool(base)
    return TrainingTask(
        settings=settings,
        coefficient=COEFFICIENT,
        regularizer="kl",
        seed=SEED,
        max_new_tokens=TOKENS,
        prompts=pool.prompts,
        prompt_tokens=pool.prompt_tokens,
        prompt_weights_X=pool.prompt_weights_X,
        weights_WN=WEIGHTS_WN,
        steps_W=[settings.steps] * len(WEIGHTS_WN),
        score=rewards,
        pool=pool,
        pool_rewards_NXJ=_rewards_on(pool, rewards),
        holdout=holdout,
        holdout_rewards_NXJ=_rewards_on(holdout, rewards),
    )


def _rewards_on(pool: Pool, rewards: GroupRewards) -> Floats:
    return rewards(*pool.flat_texts()).reshape(len(SPECS), len(PROMPTS), -1)


def trl(
    turns: Turns,
    worlds: Sequence[int],
    learning_rate: float,
    ranges: list[ScoreRange],
    folder: Path,
) -> None:
    """One world after another, in one process that has imported everything once."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl_worlds import World, rloo_trainer

    def load() -> Any:
        dtype = torch.bfloat16 if HALF else torch.float32
        return AutoModelForCausalLM.from_pretrained(base_models.prepare(NAME), dtype=dtype)

    settings = POLICY.model_copy(update={"learning_rate": learning_rate})
    score = group_rewards(ranges)
    tokenizer = AutoTokenizer.from_pretrained(base_models.prepare(NAME))
    turns.begin()
    for world in worlds:
        with turns.untimed():
            model = load()  # each world starts from the base model as it was
        described = World(
            list(PROMPTS), WEIGHTS_WN[world], score, COEFFICIENT, TOKENS, settings, SEED
        )
        trainer = rloo_trainer(
            model,
            tokenizer,
            described,
            folder / "runs",
            half=HALF,
            after_step=turns.pass_on,
        )
        trainer.train()
        trainer.save_model(str(folder / str(world)))
        del trainer, model
        gc.collect()  # else two base models count as its peak
    turns.end({"learning_rate": learning_rate, "steps": settings.steps * len(worlds)})


def judge(
    base: BaseModel, rewards: GroupRewards, folders: Mapping[str, Path]
) -> dict[str, dict[str, float]]:
    """Each side's grand world on fresh samples, and its gain over the initial model."""
    from safetensors.torch import load_file

    decoder = Decoder(base.model)
    tokens = [base.prompt_tokens(prompt) for prompt in PROMPTS]
    draws = torch.stack([uniforms((JUDGED, TOKENS), SEED, "judge", x) for x in range(len(PROMPTS))])
    drawn = sample(decoder, None, None, tokens, draws, base.eos_token_ids)
    initial_XJ = _welfare(base, rewards, drawn.tokens_KPJT[0], drawn.lengths_KPJ[0])
    figures = {"initial": {"asw": float(initial_XJ.mean())}}
    for name, folder in folders.items():
        file = folder / "0" / "adapter_model.safetensors"
        with closing(StackedAdapters.announced(base.model, POLICY, worlds=1)) as adapters:
            if file.exists():  # else nothing was better than the initial model, which B = 0 is
                adapters.load_world_state(0, load_file(file))
            drawn = sample(decoder, adapters, [0], tokens, draws, base.eos_token_ids)
            responses = drawn.tokens_KPJT[0], drawn.lengths_KPJ[0]
            kl_XJ = ResponseLogProbs(decoder, adapters, tokens, *responses).kl(0).numpy()
        asw_XJ = _welfare(base, rewards, *responses) - COEFFICIENT * kl_XJ
        gain_XJ = asw_XJ - initial_XJ
        figures[name] = {
            "asw": float(asw_XJ.mean()),
            "kl": float(kl_XJ.mean()),
            "gain": float(gain_XJ.mean()),
            "gain_standard_error": _standard_error(gain_XJ),
        }
    return figures


def _welfare(
    base: BaseModel, rewards: GroupRewards, tokens_XJT: torch.Tensor, lengths_XJ: torch.Tensor
) -> Floats:
    """Σ wᵢ rᵢ of each response, all groups."""
    texts = response_texts(base, tokens_XJT.flatten(0, 1), lengths_XJ.flatten())
    asked = [prompt for prompt in PROMPTS for _ in range(lengths_XJ.shape[1])]
    welfare_XJ: Floats = (SIZES @ rewards(asked, texts)).reshape(tuple(lengths_XJ.shape))
    return welfare_XJ


def _standard_error(values_XJ: Floats) -> float:
    """Of the mean over samples; the prompts are fixed, and count alike."""
    variance_X = values_XJ.var(axis=1, ddof=1) / values_XJ.shape[1]
    return float(np.sqrt(variance_X.sum()) / len(variance_X))


def measured(sides: Mapping[str, Program]) -> tuple[float, dict[str, dict[str, Any]]]:
    """(ASW of the initial model, each side's figures): run by turns, then judged.

    A side's program gets the rewards' ranges and a folder for its adapters, too.
    """
    base = base_model()
    ranges = ranges_on(draw_pool(base))
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in sides}
        programs = {
            name: Program(side.run, (*side.arguments, ranges, folders[name]), side.each)
            for name, side in sides.items()
        }
        figures: dict[str, dict[str, Any]] = take_turns(programs)
        judged = judge(base, group_rewards(ranges), folders)
    for name, found in figures.items():
        found |= judged[name]
        found["seconds_a_step"] = found["seconds"] / found["steps"]
        found["gain_per_second"] = found["gain"] / found["seconds"]
    return judged["initial"]["asw"], figures


def ahead(own: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Ratios to TRL, above 1 where ours is ahead."""
    less = ("seconds", "processor_seconds", "peak_memory_mib")
    more = ("gain", "gain_per_second")
    return {n: theirs[n] / own[n] for n in less} | {n: own[n] / theirs[n] for n in more}


def compare() -> None:
    worlds = list(range(len(WEIGHTS_WN)))
    sides = {settings.method: Program(ours, (settings,)) for settings in OURS}
    # A step of one world a turn: TRL takes n + 1 turns where a side of ours takes one.
    arguments = (worlds, THEIR_LEARNING_RATE)
    initial, figures = measured({**sides, "trl": Program(trl, arguments, each=len(worlds))})
    described = {
        "worlds": len(worlds),
        "responses_a_world": RESPONSES,
        "tokens": TOKENS,
        "judged_samples": JUDGED * len(PROMPTS),
        "initial_asw": initial,
    }
    ratios = {name: ahead(figures[name], figures["trl"]) for name in sides}
    record("vs_trl", {**described, **figures, "ahead_of_trl": ratios})


def tune() -> None:
    """The grand world alone, at each learning rate."""
    sides = {str(rate): Program(trl, ([0], rate)) for rate in LEARNING_RATES}
    initial, figures = measured(sides)
    record("vs_trl_tuning", {"initial_asw": initial, **figures})


if __name__ == "__main__":
    tune() if sys.argv[1:] == ["tune"] else compare()
