"""What scoring holds does not grow with the pool's texts."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GROUP_IDS, TinyRound

from workers.artifacts import ArtifactStore
from workers.pool.pool import Pool
from workers.stages import pool_texts
from workers.stages import score as score_stage
from workers.stages.pool_texts import PoolTexts, load_texts, read_block
from workers.stages.score import Scores

BLOCK, TEXT = 64, 2000
"""Responses of a block, and characters of a response."""
PROMPTS = 4


def _pool(samples: int) -> Pool:
    """Responses that say their place, so that every score is another."""
    texts = [
        [f"red {x} {j} ".ljust(TEXT, "x") + " sun" * (j % 3) for j in range(samples)]
        for x in range(PROMPTS)
    ]
    return Pool(
        prompts=[f"prompt {x}" for x in range(PROMPTS)],
        prompt_weights_X=np.full(PROMPTS, 1 / PROMPTS),
        prompt_tokens=[[1]] * PROMPTS,
        tokens_XJT=torch.ones((PROMPTS, samples, 1), dtype=torch.long),
        lengths_XJ=torch.ones((PROMPTS, samples), dtype=torch.long),
        texts=texts,
        log_q_XJ=np.full((PROMPTS, samples), -np.log(samples)),
    )


def _left_by_sampling(made: TinyRound, pool: Pool) -> None:
    digest = made.artifacts.put(pool.to_bytes())
    texts = PoolTexts.stored(made.artifacts, pool).to_json()
    made.digests["sample_pool"] = made.artifacts.put_json(
        {"pool": digest, "holdout": digest, "texts": {"pool": texts, "holdout": texts}}
    )


def _peak_bytes(folder: Path, samples: int) -> int:
    made = TinyRound(folder)
    made.run("fit_rewards")
    _left_by_sampling(made, _pool(samples))
    context = made.context()
    tracemalloc.start()
    try:
        score_stage.run(context)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_scoring_a_pool_ten_times_as_large_takes_only_its_numbers_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response has 2,000 characters, and three groups score it: at most 200 bytes more, which are
    four copies of the scores of three groups on two pools."""
    monkeypatch.setattr(pool_texts, "RESPONSES_PER_BLOCK", BLOCK)
    _peak_bytes(tmp_path / "first", 64)  # imports and caches
    small, large = (_peak_bytes(tmp_path / str(samples), samples) for samples in (64, 640))
    print(f"\npeaks: {small} bytes for {PROMPTS * 64} responses, {large} for ten times as many")
    assert large - small <= 200 * PROMPTS * (640 - 64)
    # What one copy of the texts would have taken.
    assert 5 * (large - small) < TEXT * PROMPTS * (640 - 64)


def test_blocks_hold_every_text_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_texts, "RESPONSES_PER_BLOCK", 30)
    pool, artifacts = _pool(25), ArtifactStore(str(tmp_path))
    stored = PoolTexts.stored(artifacts, pool)
    assert stored.shape == (PROMPTS, 25)
    parts = [read_block(artifacts, digest) for digest in stored.blocks]
    assert [len(responses) for _, responses in parts] == [25] * 4
    assert [text for prompts, _ in parts for text in prompts] == pool.flat_texts()[0]
    assert [text for _, responses in parts for text in responses] == pool.flat_texts()[1]


def test_a_pool_of_an_earlier_release_is_scored_alike(tmp_path: Path) -> None:
    """Its round may be in hand while the service is upgraded."""
    made = TinyRound(tmp_path)
    made.run("fit_rewards", "sample_pool", "score")
    left = made.artifacts.get_json(made.digests["sample_pool"])
    before = {name: left[name] for name in ("pool", "holdout")}
    made.digests["sample_pool"] = made.artifacts.put_json(before)
    assert load_texts(made.artifacts, made.digests["sample_pool"])[0].shape == (4, 156)
    expected = made.digests["score"]
    made.run("score")
    assert made.digests["score"] == expected
    assert Scores.load(made.artifacts, expected).group_ids == list(GROUP_IDS)
