"""Log-probabilities of given responses, and exact KL along them, for many worlds at once."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from workers.decoder import Decoder, PackedRows, PromptRows, valid_tokens
from workers.training.stacked_lora import StackedAdapters

LOGIT_ROWS = 1024
"""Positions whose logits are held at once: 1024 × 49,152 float32 are 200 MB."""
ROW_TOKENS = 256
"""Response tokens packed behind one prompt: more shares the prompt further, but attention within
a row grows with its square."""
_WORLDS_AT_ONCE = 8


def _nothing(done: int, total: int) -> None:
    """Progress that nobody watches."""


class ResponseLogProbs:
    """log π(y|x) of X·J given responses, for the base model and any of the adapters' worlds.

    The frozen bottom layers run once a call for all worlds together; with `keep_hidden` once for
    all calls (X·J·T·H numbers stay in memory: meant for a held-out pool, not for a large one).
    """

    def __init__(
        self,
        decoder: Decoder,
        adapters: StackedAdapters | None,
        prompts: list[list[int]],
        tokens_XJT: Tensor,
        lengths_XJ: Tensor,
        *,
        keep_hidden: bool = False,
    ):
        self.decoder, self.adapters = decoder, adapters
        self.prompts, self.tokens_XJT, self.lengths_XJ = prompts, tokens_XJT, lengths_XJ
        first = adapters.first_layer if adapters else decoder.n_layers
        self.bottom, self.top = range(first), range(first, decoder.n_layers)
        self._kept: dict[tuple[int, int], Tensor] | None = {} if keep_hidden else None

    @torch.no_grad()
    def __call__(
        self,
        worlds: list[int | None],
        prompts: list[int] | None = None,
        on_prompt: Callable[[int, int], None] = _nothing,
    ) -> Tensor:
        """float64 nats, shape (K, X, J) for K worlds; None stands for the base model.

        With `prompts` only these prompts' rows are filled and the others are 0, so that workers
        can add up their shares.
        """
        log_probs_KXJ = torch.zeros((len(worlds), *self.lengths_XJ.shape), dtype=torch.float64)
        chosen_prompts = list(range(len(self.prompts))) if prompts is None else prompts
        for done, x in enumerate(chosen_prompts):
            for chosen_G, rows in self._packed(x):
                hidden = self._bottom(x, chosen_G, rows)
                for places, block in self._blocks(worlds):
                    top = self._top(hidden, rows, block)
                    found_KG = _sequence_log_probs(
                        self.decoder, rows, top, self.lengths_XJ[x, chosen_G]
                    )
                    for k, found_G in zip(places, found_KG, strict=True):
                        log_probs_KXJ[k, x, chosen_G] = found_G
            on_prompt(done + 1, len(chosen_prompts))
        return log_probs_KXJ

    @torch.no_grad()
    def kl(self, world: int, on_prompt: Callable[[int, int], None] = _nothing) -> Tensor:
        """Σ_t KL(π(·|y<t) ‖ π₀(·|y<t)) of one world along each response, nats, shape (X, J).

        Averaged over responses drawn from π itself it is KL(π‖π₀) of whole responses, with less
        noise than the sampled log-ratio.
        """
        kl_XJ = torch.zeros(self.lengths_XJ.shape, dtype=torch.float64)
        for x in range(len(self.prompts)):
            for chosen_G, rows in self._packed(x):
                hidden = self._bottom(x, chosen_G, rows)
                tuned, base = (
                    rows.predicting(self._top(hidden, rows, block)).flatten(0, 2)
                    for block in ([world], None)
                )
                per_token = torch.cat(
                    [
                        token_kl(self.decoder.logits(p), self.decoder.logits(q))
                        for p, q in zip(
                            tuned.split(LOGIT_ROWS), base.split(LOGIT_ROWS), strict=True
                        )
                    ]
                )
                kl_XJ[x, chosen_G] = _sum_tokens(
                    per_token.view(rows.responses_RGT.shape[1:]), self.lengths_XJ[x, chosen_G]
                )
            on_prompt(x + 1, len(self.prompts))
        return kl_XJ

    def _packed(self, x: int) -> Iterator[tuple[list[int], PackedRows]]:
        """One row at a time: the prompt and some of its responses, with their places.

        The longest come first, and a row is as wide as its own longest: nearly nothing is padding.
        """
        lengths_J = self.lengths_XJ[x].tolist()
        order = sorted(range(len(lengths_J)), key=lambda j: -lengths_J[j])
        prompt = PromptRows.of([self.prompts[x]], self.decoder.device)
        start = 0
        while start < len(order):
            longest = lengths_J[order[start]]
            chosen_G = order[start : start + max(1, ROW_TOKENS // longest)]
            start += len(chosen_G)
            block = self.tokens_XJT[None, x, chosen_G, :longest].to(self.decoder.device)
            yield chosen_G, PackedRows(prompt, block)

    def _bottom(self, x: int, chosen_G: list[int], rows: PackedRows) -> Tensor:
        key = x, chosen_G[0]
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        embedded = self.decoder.embed(rows.tokens_RS)
        hidden = self.decoder.run(embedded, self.bottom, rows.positions_RS, rows.mask_RSS)
        if self._kept is not None:
            self._kept[key] = hidden
        return hidden

    def _blocks(self, worlds: list[int | None]) -> Iterator[tuple[list[int], list[int] | None]]:
        """(places in the result, worlds to run stacked): the base model alone, others by eight."""
        for place, world in enumerate(worlds):
            if world is None:
                yield [place], None
        tuned = [(place, world) for place, world in enumerate(worlds) if world is not None]
        for start in range(0, len(tuned), _WORLDS_AT_ONCE):
            block = tuned[start : start + _WORLDS_AT_ONCE]
            yield [place for place, _ in block], [world for _, world in block]

    def _top(self, hidden_1SH: Tensor, rows: PackedRows, worlds: list[int] | None) -> Tensor:
        """The top layers' output of one row for each of the worlds, shape (K, S, H)."""
        positions, mask = rows.positions_RS, rows.mask_RSS
        if worlds is None or self.adapters is None:
            return self.decoder.run(hidden_1SH, self.top, positions, mask)
        k = len(worlds)
        with self.adapters.select(worlds):
            return self.decoder.run(
                hidden_1SH.expand(k, -1, -1),
                self.top,
                positions.expand(k, -1),
                mask.expand(k, -1, -1),
            )


def _sequence_log_probs(
    decoder: Decoder, rows: PackedRows, hidden_KSH: Tensor, lengths_G: Tensor
) -> Tensor:
    """log π of the G responses of one row under K policies, float64, shape (K, G)."""
    tokens_GT = rows.responses_RGT[0]
    per_world = []
    for hidden_SH in hidden_KSH:
        hidden = rows.predicting(hidden_SH[None])[0].flatten(0, 1)
        parts = [
            token_log_probs(decoder.logits(part), tokens)
            for part, tokens in zip(
                hidden.split(LOGIT_ROWS), tokens_GT.flatten().split(LOGIT_ROWS), strict=True
            )
        ]
        per_world.append(_sum_tokens(torch.cat(parts).view(tokens_GT.shape), lengths_G))
    return torch.stack(per_world)


def _sum_tokens(per_token_GT: Tensor, lengths_G: Tensor) -> Tensor:
    valid_GT = valid_tokens(lengths_G, per_token_GT.shape[-1])
    return (per_token_GT.double().cpu() * valid_GT).sum(-1)


def token_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log softmax(logits)[token], without the whole log-softmax in memory; shape (…)."""
    chosen: Tensor = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
    return chosen


def token_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p‖q) over the vocabulary at each position, nats; shape (…)."""
    log_p, log_q = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)
