"""Tokens a second of the pool sampler and of the log-probability pass, as ratios in one run.

Two pools: one where nearly every response reaches the limit, and one with questions that SmolLM2
answers in three words or in ninety. Beside `transformers.generate`, at several batch sizes, stands
the sampler of rollouts, which draws a batch to its end. On a CPU each has one thread, and its
processor time is what counts: ratios then hold on a machine that has other work too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measure import base_model, record

from workers.base_models import BaseModel
from workers.decoder import Decoder
from workers.pool import refill
from workers.pool.logprobs import ResponseLogProbs, token_log_probs
from workers.pool.randomness import uniforms
from workers.pool.responses import Responses
from workers.pool.sampling import sample

TIPS = ("Give me one tip for a rainy day.", "How can I sleep better tonight?")
QUESTIONS = (
    "Is seven a prime number? Answer yes or no.",
    "Name one colour.",
    "What is the capital of France?",
    "Give me one tip for a rainy day.",
    "How many legs has a spider?",
    "Suggest a simple breakfast.",
    "Write a sentence about the sea.",
    "Is water wet? Answer with one word.",
)


@dataclass(frozen=True)
class Setting:
    prompts: tuple[str, ...]
    samples: int
    tokens: int
    batches: tuple[int, ...]


SETTINGS = {
    "equal_lengths": Setting(TIPS, samples=32, tokens=24, batches=(64,)),
    "long_tail": Setting(QUESTIONS, samples=12, tokens=96, batches=(48, 96)),
}


class Contest:
    """One setting, with what each sampler makes of it."""

    def __init__(self, base: BaseModel, setting: Setting):
        self.base, self.setting = base, setting
        self.prompts = [base.prompt_tokens(prompt) for prompt in setting.prompts]
        self.seconds: dict[str, float] = {}
        self.tokens: dict[str, int] = {}
        self.drawn: Responses | None = None

    def run(self) -> None:
        for rows in self.setting.batches:
            self._timed(f"refilled_{rows}", lambda rows=rows: self._refilled(rows))
            self._timed(f"whole_batches_{rows}", lambda rows=rows: self._whole(rows))
            self._timed(f"generate_{rows}", lambda rows=rows: self._generate(rows))

    def figures(self) -> dict[str, object]:
        rates = {name: self.tokens[name] / self.seconds[name] for name in self.seconds}
        best = {
            kind: max(rate for name, rate in rates.items() if name.startswith(kind))
            for kind in ("generate", "whole_batches", "refilled")
        }
        assert self.drawn is not None
        lengths = self.drawn.lengths_PJ.double()
        return {
            "responses": lengths.numel(),
            "mean_tokens": float(lengths.mean()),
            "longest": int(lengths.max()),
            "tokens_per_second": {name: round(rate, 1) for name, rate in rates.items()},
            "ratio_to_generate": best["refilled"] / best["generate"],
            "ratio_to_whole_batches": best["refilled"] / best["whole_batches"],
            "whole_batches_to_generate": best["whole_batches"] / best["generate"],
        }

    def _timed(self, name: str, draw: Callable[[], int]) -> None:
        started = _clock()
        self.tokens[name] = draw()
        self.seconds[name] = _clock() - started
        print(f"{name}: {self.tokens[name]} tokens in {self.seconds[name]:.1f} s", flush=True)

    def _uniforms(self, p: int) -> torch.Tensor:
        return uniforms((self.setting.samples, self.setting.tokens), "benchmark", p)

    def _refilled(self, rows: int) -> int:
        self.drawn = refill.draw(
            Decoder(self.base.model),
            self.prompts,
            self._uniforms,
            self.base.eos_token_ids,
            max_rows=rows,
        )
        return int(self.drawn.lengths_PJ.sum())

    def _whole(self, rows: int) -> int:
        tokens, each = 0, max(1, rows // self.setting.samples)
        for start in range(0, len(self.prompts), each):
            places = range(start, min(start + each, len(self.prompts)))
            drawn = sample(
                Decoder(self.base.model),
                None,
                None,
                [self.prompts[p] for p in places],
                torch.stack([self._uniforms(p) for p in places]),
                self.base.eos_token_ids,
            )
            tokens += int(drawn.lengths_KPJ.sum())
        return tokens

    def _generate(self, rows: int) -> int:
        tokens, each = 0, max(1, rows // self.setting.samples)
        for start in range(0, len(self.prompts), each):
            chosen = self.prompts[start : start + each]
            longest = max(map(len, chosen))
            padded = [[0] * (longest - len(p)) + p for p in chosen]  # on the left, as it asks
            mask = [[0] * (longest - len(p)) + [1] * len(p) for p in chosen]
            generated = self.base.model.generate(
                torch.tensor(padded),
                attention_mask=torch.tensor(mask),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=self.setting.tokens,
                num_return_sequences=self.setting.samples,
                pad_token_id=self.base.tokenizer.eos_token_id,
            )
            ends = torch.tensor(sorted(self.base.eos_token_ids))
            ended = torch.isin(generated[:, longest:], ends).int().cumsum(1)
            before = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)
            tokens += int((before == 0).sum())
        return tokens


def log_prob_figures(contest: Contest) -> dict[str, object]:
    """Of the responses drawn last: packed by their lengths, packed as long as the limit, as before,
    and each after its prompt in a padded batch through the model."""
    base, drawn = contest.base, contest.drawn
    assert drawn is not None
    decoder, tokens = Decoder(base.model), int(drawn.lengths_PJ.sum())
    whole = torch.full_like(drawn.lengths_PJ, contest.setting.tokens)
    packed = ResponseLogProbs(decoder, None, contest.prompts, drawn.tokens_PJT, drawn.lengths_PJ)
    padded = ResponseLogProbs(decoder, None, contest.prompts, drawn.tokens_PJT, whole)
    found, rates = {}, {}
    for name, run in (
        ("packed", lambda: packed([None])[0]),
        ("packed_to_the_longest", lambda: padded([None])[0]),
        ("model", lambda: _through_the_model(contest, drawn)),
    ):
        started = _clock()
        found[name] = run()
        rates[name] = tokens / (_clock() - started)
    return {
        "tokens_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio_to_the_model": rates["packed"] / rates["model"],
        "ratio_to_packed_to_the_longest": rates["packed"] / rates["packed_to_the_longest"],
        "largest_difference_nats": float((found["packed"] - found["model"]).abs().max()),
    }


@torch.no_grad()
def _through_the_model(contest: Contest, drawn: Responses) -> torch.Tensor:
    """A prompt's responses as one batch of rows, logits at the responses' positions only."""
    found = []
    for prompt, tokens_JT, lengths_J in zip(
        contest.prompts, drawn.tokens_PJT, drawn.lengths_PJ, strict=True
    ):
        longest = int(lengths_J.max())
        tokens_JT = tokens_JT[:, :longest]
        rows = torch.cat([torch.tensor(prompt).expand(len(tokens_JT), -1), tokens_JT], 1)
        logits = contest.base.model(input_ids=rows, logits_to_keep=longest + 1).logits[:, :-1]
        valid = torch.arange(longest) < lengths_J[:, None]
        found.append((token_log_probs(logits, tokens_JT).double() * valid).sum(1))
    return torch.stack(found)


def _clock() -> float:
    """Seconds of this process on a CPU; a GPU is waited for."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    torch.set_num_threads(1)
    base = base_model()
    seconds = "wall clock" if torch.cuda.is_available() else "processor time, one thread"
    figures: dict[str, object] = {"seconds": seconds}
    for name, setting in SETTINGS.items():
        contest = Contest(base, setting)
        contest.run()
        figures[name] = contest.figures()
    figures["log_probs_of_the_long_tail"] = log_prob_figures(contest)
    record("sampling", figures)


if __name__ == "__main__":
    main()
