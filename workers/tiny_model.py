"""A Llama of a few thousand weights and six tokens, whose every response can be listed.

With `max_new_tokens` 3 a prompt has 1 + 5 + 25 + 125 = 156 possible responses, so that tests can
compare training and payments with true expectations. Written with NumPy: no torch is needed.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

NAME = "tiny-enumerable"
END = "<end>"
WORDS = ("red", "green", "blue", "sun", "rain")
_HIDDEN, _INTERMEDIATE, _LAYERS, _HEADS = 48, 96, 2, 4
_SEED = 20240521
_VERSION = 1  # part of the folder's name: raise it with any change below


def write(cache: Path) -> Path:
    """Write the model in Hugging Face format into the cache, once; returns its folder."""
    target = cache / f"{NAME}-v{_VERSION}"
    if target.is_dir():
        return target
    from safetensors.numpy import save_file

    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=cache, prefix=".writing-"))
    try:
        save_file(_weights(), temporary / "model.safetensors", metadata={"format": "pt"})
        for name, content in _json_files().items():
            (temporary / name).write_text(json.dumps(content, indent=1))
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(_SEED)
    vocabulary = len(WORDS) + 1

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": random.normal(0, 1, (vocabulary, _HIDDEN)).astype(np.float32),
        "model.norm.weight": np.ones(_HIDDEN, np.float32),
        "lm_head.weight": matrix(vocabulary, _HIDDEN),
    }
    shapes = {
        "self_attn.q_proj": (_HIDDEN, _HIDDEN),
        "self_attn.k_proj": (_HIDDEN, _HIDDEN),
        "self_attn.v_proj": (_HIDDEN, _HIDDEN),
        "self_attn.o_proj": (_HIDDEN, _HIDDEN),
        "mlp.gate_proj": (_INTERMEDIATE, _HIDDEN),
        "mlp.up_proj": (_INTERMEDIATE, _HIDDEN),
        "mlp.down_proj": (_HIDDEN, _INTERMEDIATE),
    }
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        for name, shape in shapes.items():
            weights[f"{prefix}.{name}.weight"] = matrix(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}.{name}.weight"] = np.ones(_HIDDEN, np.float32)
    return weights


def _json_files() -> dict[str, dict[str, Any]]:
    vocabulary = {word: index for index, word in enumerate((END, *WORDS))}
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(vocabulary),
            "hidden_size": _HIDDEN,
            "intermediate_size": _INTERMEDIATE,
            "num_hidden_layers": _LAYERS,
            "num_attention_heads": _HEADS,
            "num_key_value_heads": _HEADS,
            "max_position_embeddings": 64,
            "bos_token_id": None,
            "eos_token_id": 0,
            "pad_token_id": 0,
            "tie_word_embeddings": False,
            "dtype": "float32",
        },
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": 0,
                    "content": END,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            ],
            "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": END},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": END,
            "unk_token": END,
            "chat_template": "{{ messages[-1]['content'] }}",
            "model_max_length": 64,
        },
    }
