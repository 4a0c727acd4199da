"""Answers before and after, with transformers and peft alone: the adapter needs nothing of ours.

python compare_answers.py ADAPTER_FOLDER BASE_MODEL_FOLDER MAX_NEW_TOKENS PROMPT…
"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(adapter: str, base_model: str, max_new_tokens: int, prompts: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, adapter).eval()

    def answer(prompt: str) -> str:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        inputs.pop("token_type_ids", None)
        output = tuned.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        start = inputs["input_ids"].shape[1]
        return str(tokenizer.decode(output[0, start:], skip_special_tokens=True)).strip()

    for prompt in prompts:
        with tuned.disable_adapter():
            before = answer(prompt)
        print(f"{prompt}\n  before: {before}\n  after:  {answer(prompt)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
