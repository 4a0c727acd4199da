"""The stage of an evaluation: every model answers the questions, then the answers are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from api_schemas.corpora import CriterionScore
from api_schemas.evaluations import EvaluatedBaseModel, EvaluationResult
from api_schemas.jobs import EvaluatedInput, EvaluationJobInput, ProgressEvent
from api_schemas.language_models import LocalModel, Spent
from workers.artifacts import canonical_json
from workers.base_models import load_in_full_precision
from workers.evaluation import tokenization
from workers.evaluation.table import Answered, answer_lines, drawn, row
from workers.judging.criteria import CRITERIA, JudgedItem, judge_answers
from workers.language_models.call_book import CallBook
from workers.language_models.chat import LanguageModel
from workers.language_models.meter import Meter
from workers.language_models.opening import open_model
from workers.question_answers import QuestionAnswer, read_question_answers
from workers.stages.context import StageContext, TaskContext
from workers.stages.fit_reward_model import progress_by_share

Context = TaskContext[EvaluationJobInput]
_TOLD = 20


def run(context: StageContext[EvaluationJobInput]) -> str:
    """Leaves `EvaluationResult`. The judge's calls are recorded as they are bought, so that a run
    which is stopped, or meets its budget, goes on from them.

    Raises InvalidInput, LanguageModelFailed, BudgetExhausted.
    """
    job = context.job
    answers = context.runner.map(_answers, job.models, uses_model=True)
    uses_model = isinstance(job.settings.judge, LocalModel)
    (digest,) = context.runner.map(_evaluate, [answers], uses_model=uses_model)
    return digest


def _questions(context: Context) -> list[QuestionAnswer]:
    """The same for every model, in the same order."""
    settings = context.job.settings
    lines = read_question_answers(context.artifacts.get(context.job.questions))
    return drawn(lines, settings.max_questions, settings.seed)


def _answers(context: Context, model: EvaluatedInput) -> list[str]:
    from workers.decoder import Decoder  # torch: a judge's task needs none
    from workers.evaluation.answers import greedy_answers, tuned

    base = load_in_full_precision(model.base_model, model.revision)
    decoder = Decoder(base.model)
    if model.adapter is not None:
        files = {name: context.artifacts.get(digest) for name, digest in model.adapter.items()}
        decoder = tuned(base, files)
    questions = [each.question for each in _questions(context)]
    told = partial(progress_by_share(context.progress, "evaluate"), f"answers of {_name(model)}")
    return greedy_answers(base, decoder, questions, context.job.settings.max_new_tokens, told)


def _name(model: EvaluatedInput) -> str:
    named = model.model
    return named.base_model if isinstance(named, EvaluatedBaseModel) else named.model_id


def _evaluate(context: Context, answers: list[list[str]]) -> str:
    job, lines = context.job, _questions(context)
    found = _judged(context, lines, answers)
    table = [
        Answered(model, given, judged)
        for model, given, judged in zip(job.models, answers, found.scores, strict=True)
    ]
    alpha = job.settings.alpha
    how = tokenization.resolved(job.settings.tokenization, [each.answer for each in lines])
    rows = answer_lines(table, lines, alpha)
    result = EvaluationResult(
        questions=len(lines),
        tokenization=how,
        rows=[row(each, lines, how, alpha) for each in table],
        answers_sha256=context.artifacts.put(b"".join(canonical_json(r) + b"\n" for r in rows)),
        calls_sha256=context.artifacts.put(found.calls),
        spent=found.spent,
    )
    return context.artifacts.put_json(result.model_dump(mode="json"))


@dataclass(frozen=True)
class _Judgement:
    """Scores by model, answer and criterion; `calls` are the judge's, as JSONL."""

    scores: list[list[list[CriterionScore]] | None]
    calls: bytes
    spent: Spent


def _judged(context: Context, lines: list[QuestionAnswer], answers: list[list[str]]) -> _Judgement:
    judge = context.job.settings.judge
    if judge is None:
        return _Judgement([None] * len(answers), b"", Spent())
    calls = CallBook(context.artifacts, context.job.evaluation_id)
    meter = Meter(context.job.settings.budget, already=calls.spent)
    opened = open_model(
        judge,
        revisions=context.job.base_models,
        endpoints=context.endpoints,
        calls=calls,
        meter=meter,
    )
    scores: list[list[list[CriterionScore]] | None] = []
    for model, given in zip(context.job.models, answers, strict=True):
        items = [
            (line.question, line.answer, text) for line, text in zip(lines, given, strict=True)
        ]
        spending = _Spending(
            context, meter, f"judgements of {_name(model)}", len(items) * len(CRITERIA)
        )
        scores.append(_scores(opened, items, spending))
    return _Judgement(scores, calls.to_jsonl(), meter.spent)


def _scores(
    judge: LanguageModel, items: Sequence[JudgedItem], spending: "_Spending"
) -> list[list[CriterionScore]]:
    most = spending.context.job.settings.judge_max_tokens
    try:
        return judge_answers(judge, items, max_tokens=most, done=spending.calls)
    finally:  # if the budget is used up, too
        spending.tell()


@dataclass
class _Spending:
    """Tells how many calls are done and what is spent by now, about twenty times a model."""

    context: Context
    meter: Meter
    unit: str
    total: int
    done: int = 0

    def calls(self, done: int) -> None:
        share = max(1, self.total // _TOLD)
        is_due = done // share > self.done // share and done < self.total
        self.done = done
        if is_due:
            self.tell()

    def tell(self) -> None:
        counted = {"done": self.done, "total": self.total, "unit": self.unit}
        spent = self.meter.spent.model_dump()
        self.context.tell(
            ProgressEvent(
                type="stage_progress",
                message=f"evaluate: {self.done} of {self.total} {self.unit}",
                data={"stage": "evaluate", **counted, "spent": spent},
            )
        )
