"""`python -m client.demo.textbook`: from a textbook to an initial model, and a round that starts
from it, as the operator and two groups would.

The generator, the teacher and the judge are all the small model that is then tuned: what they write
is of its quality. A real teacher is an endpoint of the operator's list.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api_schemas.corpora import CorpusCreate
from api_schemas.datasets import PromptLine
from api_schemas.evaluations import EvaluationCreate
from api_schemas.fine_tuned_models import BaseModelCreate
from api_schemas.jobs import stages_of
from client.client import Truthtune
from client.corpus_tables import (
    evaluation_table,
    loss_table,
    prompt_table,
    question_table,
    spent_text,
)
from client.demo import scenario
from client.demo.acting import DemoFailed, acted, new_home, started, step
from client.demo.scenario import Member
from client.demo.service_process import DemoService
from client.demo.settings import DATA, SMOLLM2, DemoRound
from client.progress import JobProgress

TEXTBOOK, PAIRS = DATA / "corpus" / "balcony_gardening.md", DATA / "corpus" / "pairs.jsonl"
BASE_MODEL = "smollm2-135m-instruct"
_LOCAL = {"type": "local", "base_model": BASE_MODEL}
CORPUS = {
    "name": "Food from a balcony",
    "generators": [_LOCAL],
    "teacher": _LOCAL,
    # What a small model can follow: few examples, little chance, one sentence.
    "questions": {
        "per_paragraph": 3,
        "rounds": 1,
        "seed_examples": 2,
        "generated_examples": 0,
        "content_examples": 4,
        "style_examples": 1,
        "max_tokens": 120,
        "temperature": 0.3,
    },
    "answers": {
        "prompt": "You are a gardener. Answer in one short sentence.",
        "max_tokens": 120,
    },
    "holdout_share": 0.2,
    "seed": 7,
}
OPTIMIZATION = {
    "judge": _LOCAL,
    "candidates": 3,
    "survivors": 1,
    "iterations": 1,
    "feedback_examples": 2,
    "pairs": 3,
    "judge_max_tokens": 48,
}
FINE_TUNING = {"epochs": 3, "batch_size": 8, "checkpoints": 3, "seed": 7}
EVALUATION = {
    "name": "Before, after SFT, after the round",
    "judge": _LOCAL,
    "judge_max_tokens": 48,
    "max_new_tokens": 96,
    "max_questions": 8,
}
ROUND = {
    "name": "Tone of a gardener",
    "seed": 7,
    "pool": {
        "samples_per_prompt": 16,
        "holdout_samples_per_prompt": 8,
        "fresh_samples_per_prompt": 4,
    },
    "generation": {"max_new_tokens": 20},
    "regularizer": {"type": "kl", "coefficient": 1.25},
    "training": {"method": "natural_gradient"},
    "counterfactuals": "retrain",
    "max_group_size": 10,
    "price_per_unit_micro_units": 1_000_000,
    "currency": "EUR",
}
PROMPTS = (
    "How often should I water a tomato in a pot?",
    "Which herbs grow well in shade?",
    "How do I keep my balcony plants from freezing?",
    "What does a plant need in a windy place?",
    "When should I sow basil?",
    "How do I feed vegetables in containers?",
)


def demo(
    home: Annotated[
        Path | None,
        typer.Option(help="A new folder for the run's state; default: one in .truthtune."),
    ] = None,
) -> None:
    """Make questions and answers of a textbook, fine-tune a model on them, and play a round that
    starts from it; exits with 0 only if every step held."""
    acted(home or new_home("demo-corpus"), _run)


def _run(service: DemoService, console: Console, stack: ExitStack) -> None:
    operator = started(service, BASE_MODEL, console, stack).operator
    with step(console, "questions and answers of a textbook, under an optimised prompt"):
        corpus_id = _make_corpus(operator, console)
    with step(console, "supervised fine-tuning"):
        base_model_id = _fine_tune(operator, corpus_id, console)
    with step(console, "a round that starts from the result"):
        model_id = _play_round(operator, service, base_model_id, console, stack)
    with step(console, "three models answer the held-out questions"):
        models = [
            {"type": "base_model", "base_model": BASE_MODEL},
            {"type": "base_model", "base_model": base_model_id},
            {"type": "tuned", "model_id": model_id},
        ]
        _evaluate(operator, corpus_id, models, console)


def _make_corpus(operator: Truthtune, console: Console) -> str:
    document = operator.files.upload(TEXTBOOK, "document")
    pairs = operator.files.upload(PAIRS, "question_answers")
    settings = CorpusCreate.model_validate(
        CORPUS
        | {
            "document_file_ids": [document.id],
            "prompt_optimization": OPTIMIZATION | {"pairs_file_id": pairs.id},
        }
    )
    queued = operator.corpora.create(settings)
    with JobProgress(console, stages=stages_of("corpus")) as progress:
        corpus = operator.corpora.wait(queued.id, progress.show)
    if corpus.result is None:
        raise DemoFailed(f"corpus {corpus.id} succeeded, but has no result")
    console.print(question_table(corpus.result))
    console.print(prompt_table(operator.corpora.history(corpus.id)))
    console.print(
        f"{corpus.result.lines} lines to train on, {corpus.result.holdout_lines} held out; "
        f"{spent_text(corpus.result.spent)}",
        highlight=False,
    )
    return corpus.id


def _fine_tune(operator: Truthtune, corpus_id: str, console: Console) -> str:
    settings = BaseModelCreate.model_validate(
        {
            "name": "SmolLM2 that read about balconies",
            "base_model": BASE_MODEL,
            "corpus_id": corpus_id,
            "method": FINE_TUNING,
        }
    )
    queued = operator.base_models.create(settings)
    with JobProgress(console, stages=stages_of("base_model")) as progress:
        made = operator.base_models.wait(queued.id, progress.show)
    if made.result is None:
        raise DemoFailed(f"base model {made.id} succeeded, but has no result")
    console.print(loss_table(made.result))
    losses = {point.step: point.holdout_loss for point in made.result.curve}
    before, after = losses[0], losses[made.result.best_step]
    if not after < before:
        raise DemoFailed(f"the held-out loss did not fall: {before:.3f} before, {after:.3f} after")
    console.print(f"{made.id}: held-out loss {before:.3f} → {after:.3f} nats a token")
    return made.id


def _play_round(
    operator: Truthtune,
    service: DemoService,
    base_model_id: str,
    console: Console,
    stack: ExitStack,
) -> str:
    prompts = service.home / "prompts.jsonl"
    prompts.write_text("".join(f"{PromptLine(prompt=p).model_dump_json()}\n" for p in PROMPTS))
    setup = _round_setup(prompts)
    members = scenario.register_groups(operator, service.url, setup, stack)
    opened = scenario.open_round(operator, base_model_id, setup)
    for member in members:
        console.print(scenario.report(member, opened.id, setup), highlight=False)
    names = {member.group_id: member.setup.name for member in members}
    scenario.run_job(operator, opened.id, console, names)
    settled = scenario.show_results(operator, members, opened.id, setup, console)
    return _delivered(settled.model_id, members)


def _round_setup(prompts: Path) -> DemoRound:
    lexical = tuple(group for group in SMOLLM2.groups if group.lexical is not None)
    return replace(
        SMOLLM2,
        prompts=prompts,
        groups=lexical,
        announcement=ROUND,
        least_gain_standard_errors=None,  # six prompts are too few to tell
    )


def _delivered(model_id: str | None, members: Sequence[Member]) -> str:
    if model_id is None:
        raise DemoFailed(f"the round of {len(members)} groups is settled, but has no model")
    return model_id


def _evaluate(
    operator: Truthtune, corpus_id: str, models: Sequence[dict[str, str]], console: Console
) -> None:
    settings = EvaluationCreate.model_validate(
        EVALUATION | {"models": list(models), "corpus_id": corpus_id}
    )
    queued = operator.evaluations.create(settings)
    with JobProgress(console, stages=stages_of("evaluation")) as progress:
        evaluation = operator.evaluations.wait(queued.id, progress.show)
    if evaluation.result is None:
        raise DemoFailed(f"evaluation {evaluation.id} succeeded, but has no result")
    console.print(evaluation_table(evaluation.result))


if __name__ == "__main__":
    typer.run(demo)
