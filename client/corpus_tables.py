"""Corpora, base models made here and evaluations, as tables."""

from rich.table import Table

from api_schemas.corpora import CorpusResult, PromptHistory
from api_schemas.evaluations import EvaluatedModel, EvaluationResult
from api_schemas.fine_tuned_models import BaseModelResult
from api_schemas.language_models import LanguageModelSpec, Spent
from client.outcome_tables import figure_table, money

_PROMPT_SHOWN = 100
"""Characters of a candidate; the whole is in the JSON."""


def question_table(found: CorpusResult) -> Table:
    """One line a round of questions: what was written, and what of it was kept."""
    numbers = ["calls", "written", "unreadable", "near-duplicates", "kept"]
    table = figure_table("questions by round", ["round"], numbers)
    for each in found.question_rounds:
        figures = (each.asked, each.written, each.unreadable, each.near_duplicates, each.kept)
        table.add_row(str(each.round), *map(str, figures))
    return table


def prompt_table(history: PromptHistory) -> Table:
    """One line a candidate in the order of their writing; the best is marked."""
    names = ["", "origin", "iteration"]
    numbers = ["score", "judge", "length penalty"]
    table = figure_table(f"prompts, α = {history.alpha:g}", names, numbers)
    table.add_column("prompt")
    for each in history.candidates:
        judge = _mean([one.judge_score for one in each.judged])
        penalty = _mean([one.length_penalty for one in each.judged])
        table.add_row(
            f"{each.index}{'*' if each.index == history.best else ''}",
            each.origin if each.parent is None else f"{each.origin} of {each.parent}",
            str(each.iteration),
            f"{each.score:.3f}",
            judge,
            penalty,
            _shortened(each.prompt),
        )
    return table


def loss_table(found: BaseModelResult) -> Table:
    """Losses in nats an answer's token; the step that the model is made of is marked."""
    table = figure_table("losses, nats a token", ["step"], ["training", "held out"])
    for point in found.curve:
        mark = "*" if point.step == found.best_step else ""
        trained = "-" if point.train_loss is None else f"{point.train_loss:.4f}"
        table.add_row(f"{point.step}{mark}", trained, f"{point.holdout_loss:.4f}")
    return table


def evaluation_table(found: EvaluationResult) -> Table:
    """One line a model; all but the last three columns lie between 0 and 100."""
    title = f"{found.questions} questions, tokens: {found.tokenization}"
    bleu = [f"BLEU-{n}" for n in (1, 2, 3, 4)]
    numbers = [*bleu, "GLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L", "judge", "length", "all"]
    table = figure_table(title, ["model"], numbers)
    for row in found.rows:
        bleus = (row.bleu_1, row.bleu_2, row.bleu_3, row.bleu_4)
        shares = (*bleus, row.gleu, row.rouge_1, row.rouge_2, row.rouge_l)
        judged = (row.judge_score, row.length_penalty, row.comprehensive)
        cells = [f"{share:.1f}" for share in shares]
        cells += ["-" if score is None else f"{score:.2f}" for score in judged]
        table.add_row(evaluated_text(row.model), *cells)
    return table


def spent_text(spent: Spent) -> str:
    """Like `212 calls (0 replayed), 81400 + 24920 tokens, 0.070190 USD`."""
    calls = f"{spent.calls} calls ({spent.replayed} replayed)"
    tokens = f"{spent.prompt_tokens} + {spent.completion_tokens} tokens"
    cost = f", {money(spent.cost_micro_units, spent.currency)}" if spent.currency else ""
    return f"{calls}, {tokens}{cost}"


def evaluated_text(model: EvaluatedModel) -> str:
    return model.base_model if model.type == "base_model" else model.model_id


def language_model_text(spec: LanguageModelSpec) -> str:
    return spec.base_model if spec.type == "local" else f"{spec.endpoint}: {spec.model}"


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else "-"


def _shortened(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= _PROMPT_SHOWN else f"{line[: _PROMPT_SHOWN - 1]}…"
