"""Stage 2 of a corpus: the prompt that the teacher answers under, optimised if that was asked."""

import io
import random

from api_schemas.corpora import PromptHistory, PromptOptimization
from api_schemas.datasets import QuestionAnswerLine, parse_jsonl
from api_schemas.jobs import CorpusJobInput, ProgressEvent
from workers import plots
from workers.corpora.prompt_optimization import Pair, PromptOptimizer
from workers.corpora.written import OptimizedPrompt
from workers.judging.criteria import CRITERIA, judge_answers
from workers.stages.context import StageContext, TaskContext
from workers.stages.corpus_calls import CorpusCalls, uses_model


def run(context: StageContext[CorpusJobInput]) -> str:
    """Leaves `OptimizedPrompt`: the announced prompt where no optimisation was asked for."""
    settings = context.job.settings
    asked = settings.prompt_optimization
    if asked is None:
        context.tell(_nothing_to_do())
        found = OptimizedPrompt(prompt=settings.answers.prompt, history=None, plot=None)
        return context.artifacts.put_json(found.model_dump(mode="json"))
    specs = [settings.teacher, asked.judge, asked.writer or settings.teacher]
    (digest,) = context.runner.map(_optimize, [asked], uses_model=uses_model(context.job, specs))
    return digest


def _nothing_to_do() -> ProgressEvent:
    message = "optimize_prompt: no optimisation was asked for; answers are written as announced"
    return ProgressEvent(type="stage_progress", message=message, data={"stage": "optimize_prompt"})


def _optimize(context: TaskContext[CorpusJobInput], asked: PromptOptimization) -> str:
    settings = context.job.settings
    calls = CorpusCalls(context, "optimize_prompt")
    judge = calls.open(asked.judge)
    optimizer = PromptOptimizer(
        teacher=calls.open(settings.teacher),
        writer=calls.open(asked.writer or settings.teacher),
        judge=lambda items: judge_answers(
            judge,
            items,
            max_tokens=asked.judge_max_tokens,
            done=lambda done: calls.progress(done, len(CRITERIA) * len(items), "judgements"),
        ),
        pairs=_pairs(context, asked.pairs),
        answers=settings.answers,
        settings=asked,
        telling=calls.telling,
    )
    return _stored(context, optimizer.optimize())


def _pairs(context: TaskContext[CorpusJobInput], most: int) -> list[Pair]:
    """At most as many, drawn by the corpus's seed, in the order of the file."""
    digest = context.job.pairs
    if digest is None:
        raise ValueError(f"corpus {context.job.corpus_id} has a prompt optimisation without pairs")
    lines = parse_jsonl(io.BytesIO(context.artifacts.get(digest)), QuestionAnswerLine)
    chance = random.Random(f"{context.job.settings.seed}/pairs")
    chosen = sorted(chance.sample(range(len(lines)), min(most, len(lines))))
    return [(lines[place].question, lines[place].answer) for place in chosen]


def _stored(context: TaskContext[CorpusJobInput], history: PromptHistory) -> str:
    # Without the corpus's name or id: a replay is the same to the bit.
    drawn = plots.prompt_history_figure(history, "The score of every answering prompt")
    found = OptimizedPrompt(
        prompt=history.candidates[history.best].prompt,
        history=context.artifacts.put_json(history.model_dump(mode="json")),
        plot=context.artifacts.put(drawn),
    )
    return context.artifacts.put_json(found.model_dump(mode="json"))
