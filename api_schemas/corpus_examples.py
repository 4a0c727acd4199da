"""The responses that `/docs` shows of corpora, base models made here, and evaluations."""

from typing import Any

_ID = "01jd2m8x3k5v7w9y0a1b2c3d4e"
_CORPUS, _BASE_MODEL, _EVALUATION = f"corp_{_ID}", f"bm_{_ID}", f"evl_{_ID}"
_CORPUS_JOB, _BASE_MODEL_JOB, _EVALUATION_JOB = (
    "job_01jd2m8x3k5v7w9y0a1b2c3d4j",
    "job_01jd2m8x3k5v7w9y0a1b2c3d4k",
    "job_01jd2m8x3k5v7w9y0a1b2c3d4m",
)
_DOCUMENT, _PAIRS = "file_01jd2m8x3k5v7w9y0a1b2c3d4n", "file_01jd2m8x3k5v7w9y0a1b2c3d4p"
_LINES = "sha256:0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4c2a9e4f7b1d3058697e6d5c4b3a2f1e"
_HOLDOUT = "sha256:7e1a8c5b2f9e6034d7a1b8c5e2f90637d4a1e8b5c2f90635d8e1c7a3b9f2064e"
_CALLS = "sha256:4a9d2b5f80e3617c4e9a2d5b8f0361e7c4a9d2b5f80e71c4e9a2d5b8f0361e7c"
_HISTORY = "sha256:9e1b6083d5f2a7c4e9b1d6f8032a5c7e4d9b1f6082b7d4f9a1c6e8035d2f7a4c"
_PLOT = "sha256:d1b6e3f8a5c2079e4d1b6a3f8c5e2079b4e1d6a3f8c5b2079e4d1a6b3f8c5284"
_REVISION = "sha256:5b2d9a4c7e1630f8b5d2a9e4c7163e08f5b2d9a4c7e1630f8b5d2a9e4c71e80f"
_STARTED_FROM = "sha256:9ad1f2b64b5aa6bd0fb7a1f1c7dbb3d8ed2e42eafb3d2b2c6a4fd0a8d76c2e51"
_ADAPTER = "sha256:a9d2b5f80e3617c4e9a2d5b8f0361e7c4a9d2b5f80e71c4e9a2d5b8f0361e7c4"
_CONFIG = "sha256:b5f80e3617c4e9a2d5b8f0361e7c4a9d2b5f80e71c4e9a2d5b8f0361e7c4a9d2"
_ANSWERS = "sha256:c7163e08f5b2d9a4c7e1630f8b5d2a9e4c71e80f5b2d9a4c7e1630f8b5d2a9e4"
_LOCAL = {"type": "local", "base_model": "smollm2-135m-instruct"}
_TEACHER = {"type": "endpoint", "endpoint": "openai", "model": "gpt-5-mini"}
_SPENT = {
    "calls": 212,
    "replayed": 0,
    "prompt_tokens": 81_400,
    "completion_tokens": 24_920,
    "cost_micro_units": 70_190,
    "currency": "USD",
}

CORPUS_CREATE: dict[str, Any] = {
    "name": "Balcony gardens, first edition",
    "document_file_ids": [_DOCUMENT],
    "generators": [_TEACHER, _LOCAL],
    "teacher": _TEACHER,
    "prompt_optimization": {"pairs_file_id": _PAIRS, "judge": _TEACHER},
    "budget": {"max_tokens": 500_000, "max_cost_micro_units": 5_000_000},
}

_CORPUS_SETTINGS: dict[str, Any] = {
    **CORPUS_CREATE,
    "seed_questions_file_id": None,
    "paragraphs": {"min_characters": 200, "max_characters": 2000},
    "questions": {
        "per_paragraph": 5,
        "rounds": 2,
        "seed_examples": 6,
        "generated_examples": 2,
        "content_examples": 8,
        "style_examples": 3,
        "similarity": 0.7,
        "max_tokens": 512,
        "temperature": 0.8,
    },
    "answers": {
        "prompt": "You are an experienced teacher of the subject.",
        "max_tokens": 512,
        "temperature": 0.0,
    },
    "prompt_optimization": {
        **CORPUS_CREATE["prompt_optimization"],
        "writer": None,
        "candidates": 10,
        "survivors": 5,
        "iterations": 3,
        "feedback_examples": 5,
        "pairs": 20,
        "alpha": 0.5,
        "judge_max_tokens": 256,
    },
    "holdout_share": 0.1,
    "replay_of": None,
    "seed": 0,
}

CORPUS_RESUME: dict[str, Any] = {
    "budget": {"max_tokens": 1_000_000, "max_cost_micro_units": 10_000_000}
}

CORPUS: dict[str, Any] = {
    "object": "corpus",
    "id": _CORPUS,
    "name": "Balcony gardens, first edition",
    "job_id": _CORPUS_JOB,
    "status": "succeeded",
    "settings": _CORPUS_SETTINGS,
    "spent": _SPENT,
    "result": {
        "documents": [
            {
                "file_id": _DOCUMENT,
                "filename": "balcony.md",
                "characters": 9_412,
                "paragraphs": 14,
            }
        ],
        "question_rounds": [
            {
                "round": 0,
                "asked": 14,
                "written": 68,
                "unreadable": 0,
                "near_duplicates": 6,
                "kept": 62,
            }
        ],
        "lines": 55,
        "holdout_lines": 7,
        "lines_sha256": _LINES,
        "holdout_sha256": _HOLDOUT,
        "calls_sha256": _CALLS,
        "prompt": "You are a patient gardener. Answer in three sentences at most.",
        "optimization": _HISTORY,
        "plot_sha256": _PLOT,
        "spent": _SPENT,
    },
    "created_at": "2026-11-02T09:00:00.000Z",
}

PROMPT_HISTORY: dict[str, Any] = {
    "alpha": 0.5,
    "candidates": [
        {
            "index": 0,
            "iteration": 0,
            "origin": "announced",
            "parent": None,
            "prompt": "You are an experienced teacher of the subject.",
            "score": 7.0,
            "judged": [
                {
                    "question": "Why do tomatoes crack after rain?",
                    "reference": "Their flesh takes up water faster than the skin can grow.",
                    "answer": "After rain the flesh of the fruit takes up a lot of water at once, "
                    "and faster than the skin around it can stretch.",
                    "criteria": [
                        {
                            "criterion": "factual_accuracy",
                            "reasons": "It names the same cause as the reference.",
                            "score": 9,
                        },
                        {
                            "criterion": "user_satisfaction",
                            "reasons": "It answers what was asked, and no more.",
                            "score": 8,
                        },
                        {
                            "criterion": "clarity",
                            "reasons": "One sentence that a beginner understands.",
                            "score": 8,
                        },
                        {
                            "criterion": "condensability",
                            "reasons": "It could say the same in half as many words.",
                            "score": 5,
                        },
                    ],
                    "judge_score": 7.5,
                    "length_penalty": 0.5,
                    "score": 7.0,
                }
            ],
        }
    ],
    "best": 0,
}

BASE_MODEL_CREATE: dict[str, Any] = {
    "name": "SmolLM2, balcony gardens",
    "base_model": "smollm2-135m-instruct",
    "corpus_id": _CORPUS,
    "method": {"epochs": 3},
}

_BASE_MODEL_SETTINGS: dict[str, Any] = {
    **BASE_MODEL_CREATE,
    "file_id": None,
    "holdout_share": 0.1,
    "method": {
        "lora_rank": 64,
        "lora_alpha": 128.0,
        "learning_rate": 0.0001,
        "batch_size": 32,
        "context_tokens": 2048,
        "epochs": 3,
        "warmup_share": 0.03,
        "weight_decay": 0.0,
        "checkpoints": 4,
        "seed": 0,
    },
}

BASE_MODEL: dict[str, Any] = {
    "object": "base_model",
    "id": _BASE_MODEL,
    "name": "SmolLM2, balcony gardens",
    "job_id": _BASE_MODEL_JOB,
    "status": "succeeded",
    "settings": _BASE_MODEL_SETTINGS,
    "result": {
        "revision": _REVISION,
        "started_from": _STARTED_FROM,
        "lines": 55,
        "holdout_lines": 7,
        "cut_lines": 0,
        "curve": [
            {"step": 0, "train_loss": None, "holdout_loss": 2.31},
            {"step": 6, "train_loss": 2.12, "holdout_loss": 1.87},
        ],
        "best_step": 6,
        "checkpoints": [
            {
                "step": 6,
                "holdout_loss": 1.87,
                "adapter_sha256": _ADAPTER,
                "config_sha256": _CONFIG,
            }
        ],
        "plot_sha256": _PLOT,
    },
    "created_at": "2026-11-02T09:20:00.000Z",
}

EVALUATION_CREATE: dict[str, Any] = {
    "name": "Before and after",
    "models": [
        {"type": "base_model", "base_model": "smollm2-135m-instruct"},
        {"type": "base_model", "base_model": _BASE_MODEL},
        {"type": "tuned", "model_id": f"mdl_{_ID}"},
    ],
    "corpus_id": _CORPUS,
    "judge": _TEACHER,
}

_EVALUATION_SETTINGS: dict[str, Any] = {
    **EVALUATION_CREATE,
    "file_id": None,
    "max_questions": 100,
    "max_new_tokens": 256,
    "tokenization": "auto",
    "judge_max_tokens": 256,
    "alpha": 0.5,
    "budget": {"max_tokens": 2_000_000, "max_cost_micro_units": None},
    "seed": 0,
}

EVALUATION_RESUME: dict[str, Any] = {"budget": {"max_tokens": 1_000_000}}

EVALUATION: dict[str, Any] = {
    "object": "evaluation",
    "id": _EVALUATION,
    "name": "Before and after",
    "job_id": _EVALUATION_JOB,
    "status": "succeeded",
    "settings": _EVALUATION_SETTINGS,
    "result": {
        "questions": 7,
        "tokenization": "words",
        "rows": [
            {
                "model": {"type": "base_model", "base_model": _BASE_MODEL},
                "revision": _REVISION,
                "bleu_1": 31.2,
                "bleu_2": 18.4,
                "bleu_3": 11.9,
                "bleu_4": 8.1,
                "gleu": 14.6,
                "rouge_1": 38.0,
                "rouge_2": 15.2,
                "rouge_l": 29.7,
                "judge_score": 6.4,
                "length_penalty": 0.2,
                "comprehensive": 6.2,
                "mean_characters": 214.0,
            }
        ],
        "answers_sha256": _ANSWERS,
        "calls_sha256": _CALLS,
        "spent": {
            "calls": 28,
            "replayed": 0,
            "prompt_tokens": 9_100,
            "completion_tokens": 2_300,
            "cost_micro_units": 8_250,
            "currency": "USD",
        },
    },
    "created_at": "2026-11-02T10:00:00.000Z",
}
