"""Tokens a second of the pool sampler, as a ratio to `transformers.generate` in the same run."""

import time

import torch
from measure import base_model, record

from workers.decoder import Decoder
from workers.pool.randomness import uniforms
from workers.pool.sampling import sample

PROMPTS = ("Give me one tip for a rainy day.", "How can I sleep better tonight?")
SAMPLES, TOKENS = 32, 24


def main() -> None:
    base = base_model()
    prompts = [base.prompt_tokens(prompt) for prompt in PROMPTS]
    shape = (SAMPLES, TOKENS)
    draws = torch.stack([uniforms(shape, "benchmark", x) for x in range(len(prompts))])

    started = time.perf_counter()
    drawn = sample(Decoder(base.model), None, None, prompts, draws, base.eos_token_ids)
    ours = int(drawn.lengths_KPJ.sum()) / (time.perf_counter() - started)

    started, tokens = time.perf_counter(), 0
    for prompt in prompts:
        generated = base.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=TOKENS,
            num_return_sequences=SAMPLES,
            pad_token_id=base.tokenizer.eos_token_id,
        )
        new = generated[:, len(prompt) :]
        ended = (new == base.tokenizer.eos_token_id).int().cumsum(1) > 1
        tokens += int((~ended).sum())
    theirs = tokens / (time.perf_counter() - started)
    record(
        "sampling",
        {
            "tokens_per_second": ours,
            "tokens_per_second_of_generate": theirs,
            "ratio": ours / theirs,
        },
    )


if __name__ == "__main__":
    main()
