"""Sampling with rows that are filled again: a response that ends makes room for the next one.

Responses end after very different numbers of tokens, and a batch that is drawn to its end computes
the longest for all. Here a row whose response has ended takes the next response, of the next prompt
where one has no more; when none is left the batch shrinks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.decoder import Decoder, PromptRows, SlotCache
from workers.pool.inversion import as_thresholds, invert
from workers.pool.responses import Responses
from workers.pool.ring_cache import RingCache
from workers.pool.sampling import MAX_ROWS
from workers.training.stacked_lora import StackedAdapters

_PREFILL_TOKENS = 1024
"""Of the prompts that are computed at once: enough to keep a CPU's cores busy."""
_CACHE_BYTES = 4 * 2**30
"""Keys and values of all rows on a CPU; where they would be more, fewer rows are drawn at once."""
_GPU_SHARE = 0.5
"""Of a GPU's free memory, for the same: activations and logits need some too."""


Pick = Callable[[Tensor, Tensor], Tensor]
"""Tokens from logits of shape (R, V) and uniforms of shape (R, J); shape (R, J)."""


def _nothing(done: int, total: int) -> None:
    """Progress that nobody watches."""


@torch.no_grad()
def draw(
    decoder: Decoder,
    prompts: Sequence[list[int]],
    uniforms_JT: Callable[[int], Tensor],
    end_tokens: frozenset[int],
    *,
    adapters: StackedAdapters | None = None,
    world: int | None = None,
    on_prompt: Callable[[int, int], None] = _nothing,
    max_rows: int = MAX_ROWS,
    pick: Pick = invert,
) -> Responses:
    """Draw responses by inverting the cumulative distribution, one uniform a token.

    `uniforms_JT(p)` are those of prompt p's J responses of T tokens: with the prompt they decide a
    response, whatever is drawn beside it, up to rounding. `world` is the adapters' world to draw
    from; None is the base model. `on_prompt` is told how many prompts have all their responses.
    `pick` may sharpen the distribution; a pool is drawn at temperature 1, as it is.
    """
    told = 0
    with adapters.select(None if world is None else [world]) if adapters else nullcontext():
        batch = _Batch(decoder, prompts, uniforms_JT, end_tokens, max_rows, pick)
        while batch.fill():
            batch.step()
            if batch.prompts_done > told:
                told = batch.prompts_done
                on_prompt(told, len(prompts))
    if told < len(prompts):  # the last of them ended with their first token
        on_prompt(len(prompts), len(prompts))
    return batch.drawn


@dataclass(eq=False)
class _Block:
    """Prompts that were computed, and those of their responses that still wait for a row."""

    cache: SlotCache
    prompts_B: Tensor
    lengths_B: Tensor
    first_tokens_BJ: Tensor
    uniforms_BJT: Tensor
    waiting_W2: Tensor
    """(place of the prompt in the block, response)"""

    def take(self, most: int) -> tuple[Tensor, Tensor]:
        taken, self.waiting_W2 = self.waiting_W2[:most], self.waiting_W2[most:]
        return taken[:, 0], taken[:, 1]


class _Rows:
    """What is known of the response in each row. All have a token that is yet to be fed."""

    def __init__(self, rows: int, tokens: int, device: torch.device):
        self.prompts_R, self.responses_R, self.prompt_lengths_R, self.counts_R = (
            torch.zeros(rows, dtype=torch.long, device=device) for _ in range(4)
        )
        self.tokens_RT = torch.zeros((rows, tokens), dtype=torch.long, device=device)
        self.uniforms_RT = torch.zeros((rows, tokens), device=device)

    def begin(self, rows: Tensor, block: _Block, places: Tensor, responses: Tensor) -> None:
        self.prompts_R[rows] = block.prompts_B[places]
        self.responses_R[rows] = responses
        self.prompt_lengths_R[rows] = block.lengths_B[places]
        self.counts_R[rows] = 1
        self.tokens_RT[rows] = 0
        self.tokens_RT[rows, 0] = block.first_tokens_BJ[places, responses]
        self.uniforms_RT[rows] = block.uniforms_BJT[places, responses]

    def move(self, sources: Tensor, targets: Tensor) -> None:
        for each in vars(self).values():
            each[targets] = each[sources]


class _Batch:
    """The responses in flight, one in each of the first `live` rows, and those that are done."""

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[list[int]],
        uniforms_JT: Callable[[int], Tensor],
        end_tokens: frozenset[int],
        max_rows: int,
        pick: Pick,
    ):
        self.decoder, self.prompts, self.uniforms_JT = decoder, prompts, uniforms_JT
        self.pick = pick
        self.ends = torch.tensor(sorted(end_tokens), device=decoder.device)
        self.samples, self.tokens = uniforms_JT(0).shape
        self.drawn = Responses(
            torch.zeros((len(prompts), self.samples, self.tokens), dtype=torch.long),
            torch.zeros((len(prompts), self.samples), dtype=torch.long),
        )
        self.unfinished_P = torch.full((len(prompts),), self.samples)
        self.live, self.steps, self.free = 0, 0, torch.zeros(0, dtype=torch.long)
        self.layers = range(decoder.n_layers)
        # The longest first: what the rows need is known at once, and is less and less.
        self.order = sorted(range(len(prompts)), key=lambda p: -len(prompts[p]))
        self.blocks = self._blocks()
        self.block = next(self.blocks)
        self.max_rows = min(max_rows, self.samples * len(prompts), self._fitting())
        self.rows = _Rows(self.max_rows, self.tokens, decoder.device)
        longest = len(prompts[self.order[0]])
        self.cache = RingCache(self.block.cache, self.max_rows, self._ring, longest)

    @property
    def prompts_done(self) -> int:
        return int((self.unfinished_P == 0).sum())

    @property
    def _ring(self) -> int:
        """A response's last token is never fed."""
        return max(1, self.tokens - 1)

    def _fitting(self) -> int:
        """How many rows the memory has room for, at least one."""
        most = float(_CACHE_BYTES)
        if self.decoder.device.type == "cuda":
            most = _GPU_SHARE * torch.cuda.mem_get_info(self.decoder.device)[0]
        slots = self._ring + len(self.prompts[self.order[0]])
        return max(1, int(most // RingCache.row_bytes(self.block.cache, slots)))

    def fill(self) -> bool:
        """Give the rows that are free responses that wait; False if there is nothing left to do."""
        free = torch.cat([self.free, torch.arange(self.live, self.max_rows)])
        taken = 0
        while taken < len(free) and self._someone_waits():
            places, responses = self.block.take(len(free) - taken)
            rows = free[taken : taken + len(places)].to(self.decoder.device)
            self.rows.begin(rows, self.block, places, responses)
            self.cache.take_prompts(rows, self.block.cache, places)
            taken += len(places)
        self.live = max(self.live, int(free[:taken].max()) + 1 if taken else 0)
        self._close_gaps(free[taken:])
        self.free = free[:0]
        return self.live > 0

    def _someone_waits(self) -> bool:
        while not len(self.block.waiting_W2):
            following = next(self.blocks, None)
            if following is None:
                return False
            self.block = following
        return True

    def _close_gaps(self, gaps: Tensor) -> None:
        """The last rows move to the gaps, so that rows in use are the first ones."""
        gaps = gaps[gaps < self.live]
        if not len(gaps):
            return
        kept = self.live - len(gaps)
        targets = gaps[gaps < kept]
        behind = torch.arange(kept, self.live)
        sources = behind[~torch.isin(behind, gaps)]
        self.live = kept
        if len(targets):
            sources, targets = sources.to(self.decoder.device), targets.to(self.decoder.device)
            self.rows.move(sources, targets)
            self.cache.move(sources, targets)

    def step(self) -> None:
        """One more token for every row in use."""
        live = slice(0, self.live)
        row_R = torch.arange(self.live, device=self.decoder.device)
        counts_R, lengths_R = self.rows.counts_R[live], self.rows.prompt_lengths_R[live]
        self.cache.advance(self.steps, int(lengths_R.max()))
        self.steps += 1
        hidden_R1H = self.decoder.run(
            self.decoder.embed(self.rows.tokens_RT[row_R, counts_R - 1][:, None]),
            self.layers,
            (lengths_R + counts_R - 1)[:, None],
            self.cache.seen_RS(counts_R, lengths_R)[:, None],
            self.cache,
        )
        uniforms_R1 = self.rows.uniforms_RT[row_R, counts_R][:, None]
        drawn_R = self.pick(self.decoder.logits(hidden_R1H[:, 0]), uniforms_R1)[:, 0]
        self.rows.tokens_RT[row_R, counts_R] = drawn_R
        self.rows.counts_R[live] += 1
        ended_R = torch.isin(drawn_R, self.ends) | (self.rows.counts_R[live] == self.tokens)
        self._finish(ended_R.nonzero()[:, 0])

    def _finish(self, rows: Tensor) -> None:
        """Keep the responses of rows whose last token was drawn."""
        prompts, responses = self.rows.prompts_R[rows].cpu(), self.rows.responses_R[rows].cpu()
        self.drawn.tokens_PJT[prompts, responses] = self.rows.tokens_RT[rows].cpu()
        self.drawn.lengths_PJ[prompts, responses] = self.rows.counts_R[rows].cpu()
        self.unfinished_P -= torch.bincount(prompts, minlength=len(self.prompts))
        self.free = rows.cpu()

    def _blocks(self) -> Iterator[_Block]:
        """The prompts, computed some at a time; memory holds one block."""
        start = 0
        while start < len(self.order):
            longest = len(self.prompts[self.order[start]])
            stop = start + max(1, min(MAX_ROWS, _PREFILL_TOKENS // longest))
            yield self._prefilled(self.order[start:stop])
            start = stop

    def _prefilled(self, chosen: list[int]) -> _Block:
        device, decoder = self.decoder.device, self.decoder
        rows = PromptRows.of([self.prompts[p] for p in chosen], device)
        cache = SlotCache(rows.slots)
        hidden_BSH = decoder.run(
            decoder.embed(rows.tokens_PS), self.layers, rows.positions_PS, rows.causal_PSS, cache
        )
        last_BH = hidden_BSH[torch.arange(len(chosen), device=device), rows.lengths_P - 1]
        uniforms_BJT = as_thresholds(torch.stack([self.uniforms_JT(p) for p in chosen]), device)
        first_BJ = self.pick(decoder.logits(last_BH), uniforms_BJT[..., 0].contiguous())
        prompts_B = torch.tensor(chosen)
        ended_BJ = torch.isin(first_BJ, self.ends) | (self.tokens == 1)
        self._keep_ended(prompts_B, first_BJ.cpu(), ended_BJ.cpu())
        return _Block(
            cache=cache,
            prompts_B=prompts_B.to(device),
            lengths_B=rows.lengths_P,
            first_tokens_BJ=first_BJ,
            uniforms_BJT=uniforms_BJT,
            waiting_W2=(~ended_BJ).nonzero(),
        )

    def _keep_ended(self, prompts_B: Tensor, first_BJ: Tensor, ended_BJ: Tensor) -> None:
        """The responses that end with their first token never get a row."""
        self.drawn.tokens_PJT[prompts_B, :, 0] = torch.where(ended_BJ, first_BJ, 0)
        self.drawn.lengths_PJ[prompts_B] = ended_BJ.long()
        self.unfinished_P[prompts_B] -= ended_BJ.sum(1)
