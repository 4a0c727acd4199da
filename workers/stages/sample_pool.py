"""Stage 2: the pool and the held-out pool, from the initial model, before any score is known."""

from dataclasses import replace
from functools import partial

from workers.artifacts import ArtifactStore
from workers.pool import pool as pools
from workers.pool.pool import Pool
from workers.pool.samplers import SamplerName, sampler_named
from workers.stages.context import StageContext, TaskContext, contiguous_shards
from workers.stages.pool_texts import PoolTexts


def run(context: StageContext) -> str:
    """Leaves `{pool, holdout, texts: {pool, holdout}}`: the digests of two pools, and their texts
    in blocks, for whoever scores them. Sharded by prompt.

    An enumerated pool has no sampling noise to hold out against: it is its own held-out pool.
    """
    count = len(context.prompts())
    kinds = ["pool"]
    if context.job.announcement.pool.method == "sample":
        kinds.append("holdout")
    digests, texts = {}, {}
    for kind in kinds:
        shards = contiguous_shards(count, context.runner.model_shards)
        items = [(kind, shard.start, shard.stop, context.runner.sampler) for shard in shards]
        pool = _joined(context, context.runner.map(_draw, items, uses_model=True))
        digests[kind] = context.artifacts.put(pool.to_bytes())
        texts[kind] = PoolTexts.stored(context.artifacts, pool).to_json()
    return context.artifacts.put_json(
        {
            "holdout": digests["pool"],
            **digests,
            "texts": {"holdout": texts["pool"], **texts},
        }
    )


def load_pools(artifacts: ArtifactStore, digest: str) -> tuple[Pool, Pool]:
    """(pool, held-out pool) of a `sample_pool` artifact."""
    digests = artifacts.get_json(digest)
    pool, holdout = (Pool.from_bytes(artifacts.get(digests[kind])) for kind in ("pool", "holdout"))
    return pool, holdout


def _joined(context: StageContext, shards: list[str]) -> Pool:
    parts = [Pool.from_bytes(context.artifacts.get(digest)) for digest in shards]
    weights_X = pools.prompt_weights(context.prompts())
    return replace(pools.concatenate(parts), prompt_weights_X=weights_X)


def _draw(context: TaskContext, item: tuple[str, int, int, SamplerName]) -> str:
    """Draw or list the responses to the prompts from `start` to before `stop`."""
    kind, start, stop, sampler = item
    rules = context.job.announcement
    base, lines = context.base_model(), context.prompts()[start:stop]
    if rules.pool.method == "enumerate":
        pool = pools.enumerate_pool(base, lines, rules.generation.max_new_tokens, first_index=start)
    else:
        samples = rules.pool.samples_per_prompt
        if kind == "holdout":
            samples = rules.pool.holdout_samples_per_prompt
        pool = pools.sample_pool(
            base,
            lines,
            samples=samples,
            max_new_tokens=rules.generation.max_new_tokens,
            labels=(rules.seed, kind),
            first_index=start,
            on_prompt=partial(_tell, context, kind, start),
            sampler=sampler_named(sampler),
        )
        context.count_tokens("sample_pool", int(pool.lengths_XJ.sum()))
    return context.artifacts.put(pool.to_bytes())


def _tell(context: TaskContext, kind: str, start: int, done: int, total: int) -> None:
    context.progress("sample_pool", done, total, f"prompts of the {kind} from prompt {start}")
