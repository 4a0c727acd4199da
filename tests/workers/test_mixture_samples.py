"""What is drawn from the candidates and scored agrees with a list of all their responses."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from api_schemas.datasets import PromptLine
from api_schemas.training import PolicyGradient
from workers import base_models, tiny_model
from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.mechanism.arrays import Floats
from workers.mechanism.mixture import MixtureSamples, value_on_mixture
from workers.mechanism.worlds import PoolGame
from workers.pool.logprobs import ResponseLogProbs
from workers.pool.mixture_samples import CandidateSamples, sample_candidates
from workers.pool.pool import Pool, enumerate_pool
from workers.training.stacked_lora import StackedAdapters

SETTINGS = PolicyGradient(lora_rank=2, lora_alpha=4, top_layers=None)
PLACES = [None, 0, 1]
LINES = [PromptLine(prompt=p) for p in ("red sun", "green rain", "blue sun rain")]


@dataclass(frozen=True, eq=False)
class Listed:
    """The tiny model with two adapters, and its exact log-probabilities on all 156 responses."""

    base: BaseModel
    adapters: StackedAdapters
    pool: Pool
    exact_KXJ: Floats

    def draw(self, samples: int, prompts: slice = slice(None)) -> CandidateSamples:
        return sample_candidates(
            self.base,
            Decoder(self.base.model),
            self.adapters,
            PLACES,
            self.pool.prompt_tokens[prompts],
            samples=samples,
            max_new_tokens=3,
            labels=(11, "mixture"),
            first_index=prompts.start or 0,
        )

    def indices_XJ(self, drawn: CandidateSamples) -> np.ndarray:
        """The place of each drawn response in the list."""
        every = zip(self.pool.tokens_XJT[0].tolist(), self.pool.lengths_XJ[0].tolist(), strict=True)
        place = {tuple(tokens[:length]): j for j, (tokens, length) in enumerate(every)}
        return np.array(
            [
                [place[tuple(t[:n])] for t, n in zip(tokens, lengths, strict=True)]
                for tokens, lengths in zip(
                    drawn.tokens_XJT.tolist(), drawn.lengths_XJ.tolist(), strict=True
                )
            ]
        )


@pytest.fixture(scope="module")
def listed() -> Iterator[Listed]:
    base = base_models.load(tiny_model.NAME, base_models.resolve(tiny_model.NAME).revision)
    pool = enumerate_pool(base, LINES, 3)
    generator = torch.Generator().manual_seed(5)
    with closing(StackedAdapters.announced(base.model, SETTINGS, worlds=2)) as adapters:
        with torch.no_grad():
            for b_Wor in adapters.b.values():
                b_Wor.copy_(0.3 * torch.randn(b_Wor.shape, generator=generator))
        log_probs = ResponseLogProbs(
            Decoder(base.model), adapters, pool.prompt_tokens, pool.tokens_XJT, pool.lengths_XJ
        )
        yield Listed(base, adapters, pool, log_probs(PLACES).numpy())


def test_drawn_responses_have_the_log_probabilities_of_the_list(listed: Listed) -> None:
    drawn = listed.draw(40)
    assert drawn.tokens_XJT.shape == (3, 80, 3)
    assert drawn.log_probs_KXJ.shape == (3, 3, 80)
    assert drawn.log_probs_KXJ.dtype == torch.float64
    indices_XJ = listed.indices_XJ(drawn)
    expected_KXJ = np.take_along_axis(listed.exact_KXJ, indices_XJ[None], axis=2)
    np.testing.assert_allclose(drawn.log_probs_KXJ.numpy(), expected_KXJ, rtol=0, atol=1e-5)
    texts = [[listed.pool.texts[0][j] for j in row] for row in indices_XJ]
    assert drawn.texts == texts
    assert len({len(text.split()) for row in texts for text in row}) > 2  # unlike lengths
    prompts, responses = drawn.flat_texts(["p0", "p1", "p2"])
    assert prompts == ["p0"] * 80 + ["p1"] * 80 + ["p2"] * 80
    assert responses[80:160] == texts[1]


def test_each_candidates_responses_are_its_own_samples(listed: Listed) -> None:
    indices_XJ = listed.indices_XJ(listed.draw(2000))
    rewards_J = np.random.default_rng(8).random(156)
    for place, block in enumerate((slice(0, 2000), slice(2000, 4000)), start=1):
        drawn_XJ = rewards_J[indices_XJ[:, block]]
        truth_X = np.exp(listed.exact_KXJ[place]) @ rewards_J
        error_X = drawn_XJ.std(axis=1) / np.sqrt(2000)
        assert (np.abs(drawn_XJ.mean(axis=1) - truth_X) < 4 * error_X).all()


def test_samples_do_not_depend_on_how_prompts_are_spread_over_workers(listed: Listed) -> None:
    whole = listed.draw(90)  # two prompts a batch, then one
    for prompts in (slice(0, 1), slice(1, 3)):
        part = listed.draw(90, prompts)
        assert torch.equal(part.tokens_XJT, whole.tokens_XJT[prompts])
        assert torch.equal(part.lengths_XJ, whole.lengths_XJ[prompts])
        assert part.texts == whole.texts[prompts]
        torch.testing.assert_close(
            part.log_probs_KXJ, whole.log_probs_KXJ[:, prompts], rtol=0, atol=1e-6
        )


def test_candidates_do_not_draw_the_same_responses_again(listed: Listed) -> None:
    twins = sample_candidates(
        listed.base,
        Decoder(listed.base.model),
        listed.adapters,
        [0, 0],
        listed.pool.prompt_tokens,
        samples=40,
        max_new_tokens=3,
        labels=(11, "mixture"),
    )
    assert not torch.equal(twins.tokens_XJT[:, :40], twins.tokens_XJT[:, 40:])


def test_without_an_adapter_there_is_nothing_to_draw(listed: Listed) -> None:
    with pytest.raises(ValueError, match="none of the 1 candidates has an adapter"):
        sample_candidates(
            listed.base,
            Decoder(listed.base.model),
            listed.adapters,
            [None],
            listed.pool.prompt_tokens,
            samples=2,
            max_new_tokens=3,
            labels=(11,),
        )


def test_the_mixture_valuation_agrees_with_the_sum_over_all_responses(listed: Listed) -> None:
    random, rows_X1 = np.random.default_rng(9), np.arange(3)[:, None]
    rewards_NXV, prompt_weights_X = random.random((2, 3, 156)), np.array([0.2, 0.3, 0.5])
    policy_KXV = np.exp(listed.exact_KXJ)
    drawn = listed.draw(200)
    of_initial_XJ = np.array(
        [random.choice(156, 400, p=policy_XV / policy_XV.sum()) for policy_XV in policy_KXV[0]]
    )
    indices_XJ = np.concatenate([of_initial_XJ, listed.indices_XJ(drawn)], axis=1)
    rewards_NXJ = rewards_NXV[:, rows_X1, indices_XJ]
    game = PoolGame(
        log_q_XJ=np.full((3, 400), -np.log(400)),
        prompt_weights_X=prompt_weights_X,
        coefficient=2.0,
        sizes_N=np.array([3, 7]),
        rewards_NXJ=rewards_NXJ[..., :400],
    )
    on_pool_KXJ = listed.exact_KXJ[:, rows_X1, of_initial_XJ]
    samples = MixtureSamples(
        log_models_KXJ=np.concatenate([on_pool_KXJ, drawn.log_probs_KXJ.numpy()], axis=2),
        counts_K=np.array([400, 200, 200]),
        rewards_NXJ=rewards_NXJ,
        initial=0,
    )
    found = value_on_mixture(game, samples)
    values_KX = np.einsum("kxv,n,nxv->kx", policy_KXV, game.sizes_N, rewards_NXV)
    kl_KX = (policy_KXV * (listed.exact_KXJ - listed.exact_KXJ[0])).sum(axis=2)
    off_K = found.welfare_KW[:, 0] - (values_KX - 2.0 * kl_KX) @ prompt_weights_X
    assert (np.abs(off_K) < 4 * found.welfare_standard_error_KW[:, 0]).all()
    assert found.welfare_standard_error_KW.max() < 0.5
