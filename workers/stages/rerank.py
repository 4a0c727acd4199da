"""The stage of a reranking: every item's responses in the order of their scores."""

import itertools
from collections.abc import Iterator

import numpy as np

from api_schemas.errors import BadReport
from api_schemas.jobs import RerankingJobInput
from api_schemas.reward_models import Candidates, Reranked, RerankedResult
from workers.mechanism.arrays import Floats
from workers.rewards.best_of_n import kl_bound, rerank
from workers.rewards.registry import saved_method
from workers.stages.context import StageContext
from workers.stages.scoring import score_texts


def run(context: StageContext[RerankingJobInput]) -> str:
    """Leaves `RerankedResult`. Raises BadReport if the reward model fails, or scores a response
    anything but a finite number, with the item and the response.
    """
    job = context.job
    prompts = [item.prompt for item in job.items for _ in item.responses]
    responses = [response for item in job.items for response in item.responses]
    method = saved_method(context.artifacts.get(job.fitted))
    scored = score_texts(context, job.fitted, prompts, responses, uses_model=method.uses_model)
    result = [
        _reranked(place, scores_J)
        for place, scores_J in enumerate(_by_item(scored.scores, job.items))
    ]
    context.progress("rerank", len(job.items), len(job.items), "items")
    return context.artifacts.put_json(RerankedResult(result=result).model_dump(mode="json"))


def _by_item(scores: Floats, items: list[Candidates]) -> Iterator[Floats]:
    ends = itertools.accumulate(len(item.responses) for item in items)
    return iter(np.split(scores, list(ends)[:-1]))


def _reranked(place: int, scores_J: Floats) -> Reranked:
    try:
        order = rerank(scores_J)
    except BadReport as error:
        raise BadReport(f"item {place}: {error.message}", param=f"items[{place}]") from None
    return Reranked(order=order, scores=scores_J.tolist(), kl_bound=kl_bound(len(scores_J)))
