"""The responses that `/docs` shows: a round, as its operator and one of its groups see it.

Each is whole, and they agree: a reader can follow a payment and its digests from the announcement
to the receipt.
"""

from typing import Any

_ID = "01jd2m8x3k5v7w9y0a1b2c3d4e"
_GROUP, _FILE, _ROUND = f"grp_{_ID}", f"file_{_ID}", f"rnd_{_ID}"
_JOB, _MODEL, _INVOICE, _RECEIPT = f"job_{_ID}", f"mdl_{_ID}", f"inv_{_ID}", f"rcpt_{_ID}"
_REWARD_MODEL = f"rm_{_ID}"
_QUOTE_JOB, _PREVIEW_JOB = "job_01jd2m8x3k5v7w9y0a1b2c3d4g", "job_01jd2m8x3k5v7w9y0a1b2c3d4h"
_AUDIT, _AUDIT_JOB = f"aud_{_ID}", "job_01jd2m8x3k5v7w9y0a1b2c3d4f"

_ANNOUNCEMENT_DIGEST = "sha256:17ef08b1c9cbde9aba12462bd4cfcc06e2c432cfca32de9d71801f4c93042771"
_SALT = "EV4G8Kg1fkjVlX0LdJ7falxpHwkYByngJT3Sn2qNwWc="
_COMMITMENT = "sha256:8141c4670a39cae17956d9e06579f5070c9ac7f240789fc2c24a971bb5f524b3"
_COMMITMENT_PATH = [
    {
        "side": "right",
        "hash": "sha256:0f2716f028c7cc13a739aa4a7a1803c0a4caa87e0806ed3bd7e242743b0ca08e",
    }
]
_COMMITMENT_ROOT = "sha256:5c8e85642b2f834f9e99a59302194af5206c833a7f57b0028e8e7696fc7ddcd5"
_CERTIFICATE_DIGEST = "sha256:870bc2340d95aff6e2aedbb06d7cc2c8b3a179098a417930bff0a1765f92788b"
_LEDGER_HASH = "sha256:824740461f88d50d85e2ec43f3825d3c147b5c4acbf95bbfc690588523dcc4ff"
# Of the private key of the bytes 0 to 31, which signs nothing but these examples.
_PUBLIC_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
_RECEIPT_SIGNATURE = (
    "rO3IeoYNNxiQTxIdDY+kL/185pfzNRHnErDH4SRpsmj1b6Oa3UPvDJFTiAin/SW0unu7X/OwGANw9OWKwZ6YCw=="
)
_RECEIPT_BODY_DIGEST = "sha256:f66fe5436b41f1572740ab9aa3718fc5f83fb3b7c0733a57a6152349f6cb1b10"
_BASE_MODEL_REVISION = "sha256:9ad1f2b64b5aa6bd0fb7a1f1c7dbb3d8ed2e42eafb3d2b2c6a4fd0a8d76c2e51"
_PROMPTS = "sha256:3f0b7c1d9e4a52688d7b1f6e0c93a5d42e8b6f70a1c9d3e5b7f2a4c6e8d0b1f3"
_PREFERENCES = "sha256:a1d6f38e7c5b2094d8e1f6a3b7c0d5e2f94a8b6c1d3e7f5092b4c6d8e0f1a3b5"
_POOL = "sha256:c2a9e4f7b1d3058697e6d5c4b3a2f1e0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4"
_FITTED = "sha256:5d8e1c7a3b9f2064e7d1a8c5b2f9e6034d7a1b8c5e2f90637d4a1e8b5c2f9063"
_ADAPTER = "sha256:71c4e9a2d5b8f0361e7c4a9d2b5f80e3617c4e9a2d5b8f0361e7c4a9d2b5f80e"
_OUTCOME = "sha256:2b7d4f9a1c6e8035d2f7a4c9e1b6083d5f2a7c4e9b1d6f8032a5c7e4d9b1f608"
_AUDITED = "sha256:84d1b6e3f8a5c2079e4d1b6a3f8c5e2079b4e1d6a3f8c5b2079e4d1a6b3f8c52"
_PLOT = "sha256:b95e2c7f4a1d8036e9b5c2f7a4d1e8036b9e5c2a7f4d1b8036e9c5b2f7a4d1e8"
_WEIGHTS = "sha256:e80f5b2d9a4c7e1630f8b5d2a9e4c7163e08f5b2d9a4c7e1630f8b5d2a9e4c71"

PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "size 101 is beyond the round's max_group_size of 100",
    "code": "invalid_input",
    "param": "size",
    "request_id": f"req_{_ID}",
}

HEALTH: dict[str, Any] = {"object": "health", "status": "ok"}

GROUP: dict[str, Any] = {
    "object": "group",
    "id": _GROUP,
    "name": "teachers",
    "created_at": "2030-01-01T09:00:00.000Z",
}

KEY: dict[str, Any] = {
    "object": "key",
    "id": f"key_{_ID}",
    "scope": "group",
    "group_id": _GROUP,
    "name": "laptop",
    "access": "full",
    "created_at": "2030-01-01T09:01:00.000Z",
    "expires_at": "2031-01-01T09:01:00.000Z",
    "revoked_at": None,
    "successor_id": None,
}

KEY_WITH_SECRET: dict[str, Any] = KEY | {"secret": "tt_grp_an-example-that-opens-nothing"}

AUDIT_LOG_ENTRY: dict[str, Any] = {
    "object": "audit_log_entry",
    "id": f"log_{_ID}",
    "actor": f"operator/key_{_ID}",
    "action": "round.opened",
    "subject": _ROUND,
    "reason": None,
    "created_at": "2030-01-01T09:10:00.000Z",
}

FILE: dict[str, Any] = {
    "object": "file",
    "id": _FILE,
    "purpose": "prompts",
    "filename": "prompts.jsonl",
    "bytes": 1382,
    "lines": 24,
    "sha256": _PROMPTS,
    "validation": None,
    "created_at": "2030-01-01T09:05:00.000Z",
}

FILE_DELETED: dict[str, Any] = {"object": "file.deleted", "id": _FILE, "deleted": True}

PREFERENCES_FILE: dict[str, Any] = {
    "object": "file",
    "id": _FILE,
    "purpose": "preferences",
    "filename": "judgements.csv",
    "bytes": 48213,
    "lines": 210,
    "sha256": _PREFERENCES,
    "validation": {
        "lines": 210,
        "pairs": 207,
        "prompts": 88,
        "same_texts": 0,
        "tied_votes": 1,
        "duplicates": 1,
        "contradictions": 0,
        "empty_replies": 2,
        "not_a_pair": 0,
        "prompts_in_both_splits": 0,
        "problems": [
            {"line": 17, "problem": "a reply is empty"},
            {"line": 58, "problem": "as many votes for either response"},
            {"line": 103, "problem": "says the same as line 12"},
            {"line": 140, "problem": "a reply is empty"},
        ],
    },
    "created_at": "2030-01-01T09:06:00.000Z",
}

ANNOUNCEMENT: dict[str, Any] = {
    "name": "Tone of the help desk",
    "base_model": "smollm2-135m-instruct",
    "prompts_file_id": _FILE,
    "seed": 0,
    "pool": {
        "method": "sample",
        "samples_per_prompt": 32,
        "holdout_samples_per_prompt": 8,
        "fresh_samples_per_prompt": 8,
        "mixture_samples_per_prompt": 8,
    },
    "generation": {"max_new_tokens": 24},
    "regularizer": {"type": "kl", "coefficient": 1.0},
    "training": {
        "method": "policy_gradient",
        "steps": 12,
        "prompts_per_step": 4,
        "samples_per_prompt": 8,
        "learning_rate": 0.0005,
        "learning_rate_schedule": "linear",
        "lora_rank": 16,
        "lora_alpha": 32.0,
        "top_layers": 8,
        "gradient_clip": 5.0,
        "evaluate_every": 4,
        "patience": 3,
        "elastic_reset": None,
    },
    "counterfactuals": "retrain",
    "counterfactual_steps": None,
    "value_on": "pool",
    "payment_rule": "affine_maximizer",
    "max_group_size": 100,
    "price_per_unit_micro_units": 1_000_000,
    "currency": "EUR",
    "opens_at": None,
    "closes_at": "2030-01-08T12:00:00.000Z",
    "on_bad_report": "exclude",
    "on_negative_payment": "credit",
    "version": 1,
    "base_model_revision": _BASE_MODEL_REVISION,
    "prompts_sha256": _PROMPTS,
}

ROUND: dict[str, Any] = {
    "object": "round",
    "id": _ROUND,
    "state": "settled",
    "announcement": ANNOUNCEMENT,
    "announcement_digest": _ANNOUNCEMENT_DIGEST,
    "commitment_root": _COMMITMENT_ROOT,
    "job_id": _JOB,
    "model_id": _MODEL,
    "failure": None,
    "created_at": "2030-01-01T09:10:00.000Z",
    "opened_at": "2030-01-01T09:15:00.000Z",
    "closed_at": "2030-01-08T12:00:00.750Z",
    "settled_at": "2030-01-08T12:08:30.000Z",
}

REPORT: dict[str, Any] = {
    "object": "report",
    "id": f"rep_{_ID}",
    "round_id": _ROUND,
    "group_id": _GROUP,
    "size": 7,
    "reward_model": {
        "type": "lexical",
        "features": [
            {
                "type": "keywords",
                "words": ["please", "thank"],
                "weight": 1.0,
                "case_sensitive": False,
                "cap": 5,
            },
            {"type": "length", "target_words": 12, "tolerance_words": None, "weight": 0.5},
        ],
    },
    "commitment": _COMMITMENT,
    "salt": _SALT,
    "probe": {"samples": 24, "minimum": 0.0, "maximum": 1.4166666666666667},
    "submitted_at": "2030-01-02T10:30:00.000Z",
    "unsealed_at": None,
}

UNSEALED_REPORTS: dict[str, Any] = {
    "object": "unsealed_reports",
    "round_id": _ROUND,
    "reason": "teachers dispute their invoice",
    "reports": [REPORT | {"unsealed_at": "2030-01-20T08:00:00.000Z"}],
}

REPORT_DELETED: dict[str, Any] = {"object": "report.deleted", "round_id": _ROUND, "deleted": True}


def _stage(name: str, status: str, seconds: float | None, digest: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "status": status,
        "seconds": seconds,
        "digest": digest,
        "expired": False,
    }


JOB: dict[str, Any] = {
    "object": "job",
    "id": _JOB,
    "kind": "round",
    "round_id": _ROUND,
    "audit_id": None,
    "reward_model_id": None,
    "reranking_id": None,
    "quote_id": None,
    "preview_id": None,
    "corpus_id": None,
    "base_model_id": None,
    "evaluation_id": None,
    "status": "running",
    "stages": [
        _stage("fit_rewards", "done", 1.5, _FITTED),
        _stage("sample_pool", "done", 92.25, _POOL),
        _stage("score", "running", None, None),
        *(_stage(name, "pending", None, None) for name in ("solve", "train", "value", "settle")),
    ],
    "attempts": 1,
    "cancel_requested": False,
    "error": None,
    "created_at": "2030-01-08T12:00:00.750Z",
    "started_at": "2030-01-08T12:00:01.000Z",
    "finished_at": None,
}

JOB_EVENT: dict[str, Any] = {
    "object": "job.event",
    "id": f"evt_{_ID}",
    "sequence": 7,
    "type": "stage_finished",
    "level": "info",
    "message": "sample_pool finished after 92.2 s",
    "data": {"stage": "sample_pool", "seconds": 92.25},
    "created_at": "2030-01-08T12:01:34.750Z",
}

MODEL: dict[str, Any] = {
    "object": "model",
    "id": _MODEL,
    "round_id": _ROUND,
    "base_model": "smollm2-135m-instruct",
    "base_model_revision": _BASE_MODEL_REVISION,
    "adapter_digest": _ADAPTER,
    "files": [{"name": "adapter_model.safetensors", "bytes": 3_908_272, "sha256": _WEIGHTS}],
    "created_at": "2030-01-08T12:08:30.000Z",
    "created": 1_894_104_510,
    "owned_by": "truthtune",
}

BASE_MODEL: dict[str, Any] = {
    "object": "model",
    "id": "smollm2-135m-instruct",
    "base_model_revision": _BASE_MODEL_REVISION,
    "created": 1_894_104_510,
    "owned_by": "base_model",
}

_USAGE = {"prompt_tokens": 36, "completion_tokens": 9, "total_tokens": 45}

CHAT_COMPLETION: dict[str, Any] = {
    "object": "chat.completion",
    "id": f"chatcmpl_{_ID}",
    "created": 1_894_190_000,
    "model": _MODEL,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Gladly! Which part is hard?",
                "refusal": None,
            },
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": _USAGE,
}

COMPLETION: dict[str, Any] = {
    "object": "text_completion",
    "id": f"cmpl_{_ID}",
    "created": 1_894_190_000,
    "model": _MODEL,
    "choices": [{"index": 0, "text": " came early.", "finish_reason": "length", "logprobs": None}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
}

_GRAND_WORLD: dict[str, Any] = {
    "world": "grand",
    "without_group_id": None,
    "chosen": "grand@12",
    "welfare_initial": 8.5,
    "welfare": 10.6875,
    "welfare_standard_error": None,
    "welfare_optimum": 11.1875,
    "optimality_gap": 0.5,
    "divergence": 0.875,
    "divergence_optimum": 1.125,
    "effective_samples_mean": 14.5,
    "effective_samples_minimum": 6.25,
    "low_support_prompts": 0,
    "support_ratio": 0.325,
}

REWARD_AGREEMENT: dict[str, Any] = {
    "group_ids": [_GROUP, "grp_01jd2m8x3k5v7w9y0a1b2c3d4f"],
    "spearman": [[1.0, -0.25], [-0.25, 1.0]],
}

OUTCOME: dict[str, Any] = {
    "object": "outcome",
    "round_id": _ROUND,
    "announcement_digest": _ANNOUNCEMENT_DIGEST,
    "counterfactuals": "retrain",
    "payment_rule": "affine_maximizer",
    "regularizer": {"type": "kl", "coefficient": 1.0},
    "value_on": "pool",
    "pool_prompts": 24,
    "pool_samples_per_prompt": 32,
    "price_per_unit_micro_units": 1_000_000,
    "currency": "EUR",
    "worlds": [_GRAND_WORLD],
    "groups": [
        {
            "group_id": _GROUP,
            "size": 7,
            "excluded": None,
            "valuation_initial": 0.4375,
            "valuation": 0.6875,
            "others_welfare_without": 6.25,
            "others_welfare_with": 5.875,
            "counterfactual_gap": 0.75,
            "payment": 0.375,
            "surcharge": None,
            "amount_micro_units": 375_000,
            "utility": 4.4375,
            "clipped_share": 0.015625,
            "reward_error": 0.03125,
            "reward_error_bound": 0.4375,
        }
    ],
    "certificate": {
        "guarantee": "On the announced pool no false report gains more than the certificate.",
        "figures": "The delivered model is 0.5 agent·reward units below the best policy.",
        "largest_gain": 0.5,
        "largest_gain_micro_units": 500_000,
        "estimate": False,
    },
    "fresh": {
        "samples": 192,
        "welfare_initial": 8.4375,
        "welfare_initial_standard_error": 0.1875,
        "welfare": 10.625,
        "welfare_standard_error": 0.25,
        "gain": 2.1875,
        "gain_standard_error": 0.3125,
        "divergence": 0.90625,
    },
    "holdout": {
        "welfare": 10.25,
        "welfare_initial": 8.375,
        "welfare_optimum": 10.875,
        "optimality_gap": 0.625,
        "divergence": 0.84375,
    },
    "delivered": _GRAND_WORLD,
    "reward_agreement": None,
    "warnings": [],
    "pool_digest": _POOL,
    "adapter_digest": _ADAPTER,
}

CERTIFICATE: dict[str, Any] = {
    "object": "certificate",
    **{
        name: OUTCOME[name]
        for name in (
            "round_id",
            "announcement_digest",
            "counterfactuals",
            "payment_rule",
            "regularizer",
            "value_on",
            "certificate",
            "holdout",
            "warnings",
        )
    },
    "worlds": [
        {
            name: _GRAND_WORLD[name]
            for name in (
                "world",
                "without_group_id",
                "optimality_gap",
                "effective_samples_mean",
                "effective_samples_minimum",
                "low_support_prompts",
                "support_ratio",
            )
        }
    ],
    "groups": [
        {"group_id": _GROUP, "size": 7, "reward_error": 0.03125, "reward_error_bound": 0.4375}
    ],
    "audited": {
        "audits": 1,
        "largest_gain": -0.3125,
        "largest_gain_without_payments": 0.4375,
        "largest_gain_retrained": None,
    },
    "digests": {
        "announcement": _ANNOUNCEMENT_DIGEST,
        "pool": _POOL,
        "adapter": _ADAPTER,
        "outcome": _OUTCOME,
        "base_model_revision": _BASE_MODEL_REVISION,
        "prompts": _PROMPTS,
        "stages": {"fit_rewards": _FITTED, "settle": _OUTCOME},
        "code_version": "0.1.0",
    },
}

AUDIT_CREATE: dict[str, Any] = {
    "group_ids": [_GROUP],
    "alphas": [2.0],
    "sharpen_betas": [],
    "oppose_betas": [],
    "spike": False,
    "retrain": [],
}

AUDIT: dict[str, Any] = {
    "object": "audit",
    "id": _AUDIT,
    "round_id": _ROUND,
    "job_id": _AUDIT_JOB,
    "settings": AUDIT_CREATE,
    "payment_rule": "affine_maximizer",
    "result": {
        "truth": [
            {
                "group_id": _GROUP,
                "strategy": "truth",
                "parameter": 1.0,
                "reported_size": 7,
                "valuation": 0.75,
                "payment": 0.5,
                "utility": 4.75,
                "utility_without_payments": 5.25,
                "gain": 0.0,
                "gain_without_payments": 0.0,
            }
        ],
        "misreports": [
            {
                "group_id": _GROUP,
                "strategy": "inflate",
                "parameter": 2.0,
                "reported_size": 14,
                "valuation": 0.8125,
                "payment": 1.25,
                "utility": 4.4375,
                "utility_without_payments": 5.6875,
                "gain": -0.3125,
                "gain_without_payments": 0.4375,
            }
        ],
        "refused": [],
        "retrained": [],
        "largest_gain": -0.3125,
        "largest_gain_without_payments": 0.4375,
        "largest_gain_retrained": None,
    },
    "result_digest": _AUDITED,
    "plot_digest": _PLOT,
    "created_at": "2030-01-09T10:00:00.000Z",
}

INVOICE: dict[str, Any] = {
    "object": "invoice",
    "id": _INVOICE,
    "number": 1,
    "round_id": _ROUND,
    "group_id": _GROUP,
    "receipt_id": _RECEIPT,
    "status": "open",
    "amount_micro_units": 375_000,
    "amount_credited_micro_units": 75_000,
    "amount_paid_micro_units": 100_000,
    "amount_due_micro_units": 200_000,
    "currency": "EUR",
    "created_at": "2030-01-08T12:08:30.000Z",
    "opened_at": "2030-01-08T12:08:30.000Z",
    "ended_at": None,
}

PAYMENT: dict[str, Any] = {
    "object": "payment",
    "id": f"pay_{_ID}",
    "invoice_id": _INVOICE,
    "amount_micro_units": 100_000,
    "currency": "EUR",
    "reference": "bank transfer 2030-01-15",
    "created_at": "2030-01-16T09:00:00.000Z",
}

CREDIT_NOTE: dict[str, Any] = {
    "object": "credit_note",
    "id": f"cn_{_ID}",
    "number": 1,
    "invoice_id": _INVOICE,
    "amount_micro_units": 75_000,
    "currency": "EUR",
    "reason": "agreed with the teachers",
    "created_at": "2030-01-14T09:00:00.000Z",
}

LEDGER: dict[str, Any] = {
    "object": "ledger",
    "head": {
        "sequence": 1,
        "hash": _LEDGER_HASH,
        "signing_key_id": f"sgk_{_ID}",
        "signature": (
            "tS7X+L1DGMzLwB6Ak1Zo65MowBylk0Q9YliFyFjDR1fYNlBJpPrBdqPmmIOyqUuHbkEYi9CRpp/QMgsdwuhQBg=="
        ),
        "is_signed": True,
        "created_at": "2030-01-08T12:08:30.000Z",
    },
    "balances": [
        {
            "account": "operator:revenue",
            "currency": "EUR",
            "balance_micro_units": -375_000,
            "postings": 1,
        },
        {
            "account": f"receivable:{_GROUP}",
            "currency": "EUR",
            "balance_micro_units": 375_000,
            "postings": 1,
        },
    ],
}

POSTING: dict[str, Any] = {
    "object": "posting",
    "id": f"pst_{_ID}",
    "sequence": 1,
    "entry_key": f"invoice:{_ROUND}:{_GROUP}",
    "kind": "invoice.opened",
    "account": f"receivable:{_GROUP}",
    "amount_micro_units": 375_000,
    "currency": "EUR",
    "invoice_id": _INVOICE,
    "created_at": "2030-01-08T12:08:30.000Z",
}

SIGNING_KEY: dict[str, Any] = {
    "object": "signing_key",
    "id": f"sgk_{_ID}",
    "algorithm": "ed25519",
    "public_key": _PUBLIC_KEY,
    "created_at": "2030-01-01T08:59:00.000Z",
    "retired_at": None,
}

RECEIPT: dict[str, Any] = {
    "object": "receipt",
    "id": _RECEIPT,
    "invoice_id": _INVOICE,
    "body": {
        "type": "truthtune.receipt",
        "version": 2,
        "receipt_id": _RECEIPT,
        "invoice_id": _INVOICE,
        "invoice_number": 1,
        "issued_at": "2030-01-08T12:08:30.000Z",
        "round_id": _ROUND,
        "group_id": _GROUP,
        "announcement_digest": _ANNOUNCEMENT_DIGEST,
        "report_commitment": _COMMITMENT,
        "commitment_root": _COMMITMENT_ROOT,
        "commitment_path": _COMMITMENT_PATH,
        "counterfactuals": "retrain",
        "payment_rule": "affine_maximizer",
        "regularizer": {"type": "kl", "coefficient": 1.0},
        "value_on": "pool",
        "size": 7,
        "valuation": 0.6875,
        "others_welfare_without": 6.25,
        "others_welfare_with": 5.875,
        "others_welfare_difference": 0.375,
        "surcharge": None,
        "payment": 0.375,
        "utility": 4.4375,
        "divergence": 0.875,
        "price_per_unit_micro_units": 1_000_000,
        "amount_micro_units": 375_000,
        "rounding": "floor",
        "currency": "EUR",
        "pool_digest": _POOL,
        "adapter_digest": _ADAPTER,
        "certificate_digest": _CERTIFICATE_DIGEST,
        "code_version": "0.1.0",
        "ledger_head": {"sequence": 1, "hash": _LEDGER_HASH},
    },
    "body_digest": _RECEIPT_BODY_DIGEST,
    "signature": {
        "algorithm": "ed25519",
        "key_id": f"sgk_{_ID}",
        "signature": _RECEIPT_SIGNATURE,
    },
    "created_at": "2030-01-08T12:08:30.000Z",
}

_REPORT_CARD: dict[str, Any] = {
    "n_pairs": 207,
    "n_prompts": 88,
    "n_duplicates_dropped": 1,
    "n_ties_dropped": 0,
    "n_tied_votes": 1,
    "n_unusable_dropped": 2,
    "n_train": 167,
    "n_holdout": 40,
    "accuracy": {
        "pairs": 40,
        "prompts": 18,
        "value": 0.75,
        "standard_error": 0.0625,
        "low": 0.625,
        "high": 0.875,
    },
    "calibration": {
        "error": 0.0625,
        "chance": 0.046875,
        "log_loss": 0.546875,
        "bins": [
            {"predicted": 0.625, "observed": 0.65, "pairs": 20},
            {"predicted": 0.75, "observed": 0.85, "pairs": 20},
        ],
    },
    "scores": {
        "mean": 0.0,
        "standard_deviation": 0.5,
        "minimum": -1.5,
        "maximum": 1.5,
        "edges": [-1.5, 0.0, 1.5],
        "chosen": [12, 28],
        "rejected": [26, 14],
    },
    "length_correlation": 0.1875,
    "out_of_distribution": None,
    "figures": [],
    "curves": [],
    "note": None,
}

REWARD_MODEL: dict[str, Any] = {
    "object": "reward_model",
    "id": _REWARD_MODEL,
    "name": "Teachers, spring",
    "reward_model": {
        "type": "preference_data",
        "file_id": _FILE,
        "method": {
            "name": "tfidf_bradley_terry",
            "holdout_share": 0.2,
            "seed": 0,
            "regularization": 1.0,
            "max_features": 50000,
        },
        "members": "aggregate",
    },
    "evaluation_file_id": None,
    "job_id": _JOB,
    "status": "succeeded",
    "digest": _FITTED,
    "report_card": _REPORT_CARD,
    "created_at": "2030-01-07T09:00:00.000Z",
}

RERANKING: dict[str, Any] = {
    "object": "reranking",
    "id": f"rrk_{_ID}",
    "reward_model_id": _REWARD_MODEL,
    "job_id": _JOB,
    "status": "succeeded",
    "result": [{"order": [1, 0], "scores": [-0.25, 1.5], "kl_bound": 0.1931471805599453}],
    "created_at": "2030-01-07T09:10:00.000Z",
}

WEBHOOK_ENDPOINT_CREATE: dict[str, Any] = {
    "url": "https://teachers.example/truthtune",
    "event_types": ["round.opened", "round.settled", "invoice.opened"],
}

WEBHOOK_ENDPOINT: dict[str, Any] = {
    "object": "webhook_endpoint",
    "id": f"whe_{_ID}",
    **WEBHOOK_ENDPOINT_CREATE,
    "status": "enabled",
    "public_keys": ["whpk_RCmTBlAEqh5MSPTdAVgZTAI0m8xmTNluQA6iaZGKjVE="],
    "created_at": "2030-01-01T09:20:00.000Z",
}

WEBHOOK_ENDPOINT_DELETED: dict[str, Any] = {
    "object": "webhook_endpoint.deleted",
    "id": f"whe_{_ID}",
    "deleted": True,
}

WEBHOOK_MESSAGE: dict[str, Any] = {
    "object": "webhook_message",
    "id": f"msg_{_ID}",
    "webhook_endpoint_id": f"whe_{_ID}",
    "payload": {
        "type": "round.settled",
        "timestamp": "2030-01-08T12:08:30.000Z",
        "data": {"round_id": _ROUND, "state": "settled"},
    },
    "status": "pending",
    "attempts": 1,
    "next_attempt_at": "2030-01-08T12:08:36.000Z",
    "last_status": 503,
    "last_error": "the answer was HTTP 503",
    "created_at": "2030-01-08T12:08:30.000Z",
    "delivered_at": None,
}

QUOTE: dict[str, Any] = {
    "object": "quote",
    "id": f"quo_{_ID}",
    "round_id": _ROUND,
    "job_id": _QUOTE_JOB,
    "status": "succeeded",
    "settings": {"groups": 3, "price_per_device_hour_micro_units": 2_500_000},
    "result": {
        "groups": 3,
        "prompts": 24,
        "trainings": 4,
        "device": "NVIDIA H200",
        "start": {
            "process_seconds": 8.0,
            "model_load_seconds": 2.0,
            "seconds": {"expected": 28.0, "low": 16.0, "high": 36.0},
        },
        "stages": [
            {
                "stage": "train",
                "seconds": {"expected": 72.0, "low": 54.0, "high": 90.0},
                "devices": 1,
                "formula": "12 steps × 5.50 s + 3 evaluations × 2.00 s",
            }
        ],
        "seconds": {"expected": 100.0, "low": 70.0, "high": 126.0},
        "device_hours": {"expected": 0.02, "low": 0.015, "high": 0.025},
        "storage": [{"what": "pool", "bytes": 786_432}, {"what": "adapters", "bytes": 19_541_360}],
        "storage_bytes": 20_327_792,
        "cost": {
            "expected_micro_units": 50_000,
            "low_micro_units": 37_500,
            "high_micro_units": 62_500,
        },
        "currency": "EUR",
        "calibration_seconds": 11.5,
        "assumptions": ["Every reward model is as light as a lexical one."],
    },
    "created_at": "2030-01-01T09:12:00.000Z",
}

PREVIEW: dict[str, Any] = {
    "object": "report.preview",
    "id": f"prv_{_ID}",
    "round_id": _ROUND,
    "job_id": _PREVIEW_JOB,
    "status": "succeeded",
    "result": {
        "prompts": 1,
        "responses": 4,
        "probe": REPORT["probe"],
        "excluded": None,
        "scored": {
            "minimum": 0.25,
            "maximum": 1.25,
            "mean_score": 0.625,
            "mean_reward": 0.375,
            "histogram": {"edges": [0.0, 0.25, 0.5, 0.75, 1.0], "counts": [2, 0, 1, 1]},
            "best": [
                {
                    "prompt": "How do I reset my password?",
                    "response": "Please open the settings. Thank you for asking!",
                    "score": 1.25,
                    "reward": 1.0,
                }
            ],
            "worst": [
                {
                    "prompt": "How do I reset my password?",
                    "response": "You can't.",
                    "score": 0.25,
                    "reward": 0.0,
                }
            ],
        },
        "warnings": [],
    },
    "created_at": "2030-01-02T10:20:00.000Z",
}

PREVIEW_DELETED: dict[str, Any] = {
    "object": "report.preview.deleted",
    "id": f"prv_{_ID}",
    "deleted": True,
}
