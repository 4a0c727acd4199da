"""The methods of the laboratory on public preference data, side by side.

`table`: each light method fitted to each set, measured on held-out prompts (captions: on another
cartoon; arguments: on held-out arguments). `fine_tuned`: the fine-tunes on one set. `harmless`:
encoders and their ensemble on HH-harmless, over splits. `warm`: averaging weights against averaging
predictions, with a quarter of the labels flipped, over seeds. `calibration`: pairwise calibrated
ensembles against the best single model on the votes of arguments, over splits. Without a name all
run; without the data nothing does.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import record
from preference_sets import captions, folder, hh_harmless, split_by_argument, ukp_convarg, xstest
from pydantic import TypeAdapter

from api_schemas.datasets import DataValidation
from api_schemas.errors import TruthtuneError
from api_schemas.preference_methods import PreferenceMethod
from api_schemas.report_cards import ReportCard
from api_schemas.reward_models import PinnedInputs, PreferenceDataSpec, named_base_models
from workers import base_models
from workers.preferences.comparison import Comparison, Split
from workers.preferences.splitting import split_by_prompt
from workers.rewards.assessment import assess
from workers.rewards.interfaces import Fit, FitContext
from workers.rewards.registry import fit_method

METHODS: dict[str, dict[str, Any]] = {
    "TF-IDF Bradley-Terry": {"name": "tfidf_bradley_terry"},
    "embedding, bt_mlp": {"name": "embedding", "head": "bt_mlp"},
    "embedding, clf_mlp": {"name": "embedding", "head": "clf_mlp"},
    "embedding, clf_lightgbm": {"name": "embedding", "head": "clf_lightgbm"},
    "ensemble of 4 embeddings": {"name": "ensemble", "members": 4},
    "pairwise_calibrated": {"name": "pairwise_calibrated"},
}
FINE_TUNED: dict[str, dict[str, Any]] = {
    "bradley_terry": {"name": "bradley_terry", "max_tokens": 128},
    "weight_averaged": {"name": "weight_averaged", "max_pairs": 200, "max_tokens": 96},
}
_ON_SMOLLM2 = {"name": "embedding", "encoder": "smollm2-135m-instruct", "max_tokens": 192}
HARMLESS: dict[str, dict[str, Any]] = {
    "TF-IDF Bradley-Terry": {"name": "tfidf_bradley_terry"},
    "embedding of SmolLM2, bt_mlp": _ON_SMOLLM2,
    "embedding of SmolLM2, clf_mlp": _ON_SMOLLM2 | {"head": "clf_mlp"},
    "ensemble of 6 linear heads on two encoders": {
        "name": "ensemble",
        "members": 6,
        "member": _ON_SMOLLM2 | {"hidden": []},
        "base_models": ["smollm2-135m-instruct", "all-minilm-l6-v2"],
    },
}
WARM: dict[str, Any] = {
    "name": "weight_averaged",
    "max_pairs": 120,
    "max_tokens": 48,
    "top_layers": 2,
    "epochs": 6,
    "learning_rates": [1e-3, 7e-4, 1.3e-3],
    "flipped_share": 0.25,
}
"""Few pairs, often and fast, so that members part and learn wrong labels by heart."""
SEEDS = range(5)
_HOLDOUT_SHARE = 0.2
_HELD_OUT_ARGUMENTS = 0.4
_METHOD: TypeAdapter[PreferenceMethod] = TypeAdapter(PreferenceMethod)


def by_prompt(pairs: list[Comparison], seed: int = 0) -> Split:
    return split_by_prompt(pairs, _HOLDOUT_SHARE, seed)


def by_argument(pairs: list[Comparison], seed: int = 0) -> Split:
    """All are on one question, so that the split can't be by prompt."""
    marked = list(split_by_argument(pairs, _HELD_OUT_ARGUMENTS, seed))
    return Split(*([p for p in marked if p.split == side] for side in ("train", "test")))


SETS: dict[str, Callable[[Path], Split]] = {
    "arguments": lambda data: by_argument(ukp_convarg(data)),
    "captions": lambda data: by_prompt(captions(data)),
    "HH-harmless": lambda data: by_prompt(hh_harmless(data)),
    "XSTest": lambda data: by_prompt(xstest(data)),
}


def table(data: Path) -> None:
    """Every light method on every set."""
    found = {name: measured(name, load(data), METHODS) for name, load in SETS.items()}
    record("reward_models", {"sets": found})


def fine_tuned(data: Path) -> None:
    """The fine-tunes, minutes each, on one set."""
    found = {"XSTest": measured("XSTest", SETS["XSTest"](data), FINE_TUNED)}
    record("reward_models_fine_tuned", {"sets": found})


def harmless(data: Path) -> None:
    """Over splits of HH-harmless, whose best figures lie within the error of a single one."""
    pairs = hh_harmless(data)
    runs: list[dict[str, float]] = []
    for seed in SEEDS:
        runs.append({})
        for name, method in HARMLESS.items():
            card, _ = fitted(by_prompt(pairs, seed), method | {"seed": seed})
            assert card.accuracy is not None
            runs[-1][name] = card.accuracy.value
        tell(f"HH-harmless, split {seed}: {runs[-1]}")
    record("harmless", {"set": "HH-harmless", "over_splits": summaries(runs), "runs": runs})


def measured(set_name: str, split: Split, methods: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Accuracy on held-out data and seconds of the fit; embeddings that are cached cost nothing."""
    found = {}
    for name, settings in methods.items():
        card, seconds = fitted(split, settings)
        assert card.accuracy is not None
        assert card.calibration is not None
        found[name] = {
            "accuracy": card.accuracy.value,
            "standard_error": card.accuracy.standard_error,
            "calibration_error": card.calibration.error,
            "seconds": seconds,
        }
        tell(f"{set_name}: {name}: {card.accuracy.value:.3f}, {seconds:.0f} s")
    return {"train": len(split.train), "holdout": len(split.holdout), "methods": found}


def fitted(split: Split, settings: dict[str, Any]) -> tuple[ReportCard, float]:
    """The report card, and the seconds that fitting took."""
    started = time.perf_counter()
    fit = fit_to(split, settings)
    seconds = time.perf_counter() - started
    pairs = split.everything
    validation = DataValidation(
        lines=len(pairs), pairs=len(pairs), prompts=len({pair.prompt for pair in pairs})
    )
    return assess(fit, split, validation, None), seconds


def fit_to(split: Split, settings: dict[str, Any]) -> Fit:
    method = _METHOD.validate_python(settings)
    spec = PreferenceDataSpec(type="preference_data", file_id="file_" + "0" * 26, method=method)
    revisions = {
        name: base_models.resolve(name).revision for name in named_base_models(spec).values()
    }
    return fit_method(method, split, FitContext(no_file, PinnedInputs(base_models=revisions)))


def no_file(file_id: str) -> bytes:
    raise TruthtuneError(f"the benchmark uploads no file {file_id}")


def warm(data: Path) -> None:
    """The figures of `weight_averaged` over seeds, each with a quarter of the labels flipped."""
    pairs = xstest(data)
    runs = []
    for seed in SEEDS:
        fit = fit_to(by_prompt(pairs, seed), WARM | {"seed": seed})
        runs.append({figure.name: figure.value for figure in fit.figures})
        tell(f"WARM, seed {seed}: {runs[-1]}")
    record(
        "weight_averaged",
        {"set": "XSTest", "settings": WARM, "over_seeds": summaries(runs), "runs": runs},
    )


def calibration(data: Path) -> None:
    """Held-out calibration error of k members and of the best single model, over splits."""
    arguments = ukp_convarg(data)
    runs = []
    for seed in SEEDS:
        settings = {"name": "pairwise_calibrated", "members": 8, "seed": seed}
        fit = fit_to(by_argument(arguments, seed), settings)
        runs.append({figure.name: figure.value for figure in fit.figures})
        for curve in fit.curves:
            for series in curve.series:
                at = zip(curve.x, series.y, strict=True)
                runs[-1] |= {f"{series.name}, {curve.x_label} = {x:g}": y for x, y in at}
        tell(f"calibration, split {seed}: {runs[-1]}")
    record("pairwise_calibrated", {"set": "arguments", "over_splits": summaries(runs)})


def summaries(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard error of every figure that all runs have."""
    names = [name for name in runs[0] if all(name in run for run in runs)]
    values = {name: np.array([run[name] for run in runs]) for name in names}
    return {
        name: {
            "mean": float(found.mean()),
            "standard_error": float(found.std(ddof=1) / np.sqrt(len(found))),
        }
        for name, found in values.items()
    }


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[Path], None]] = {
    "table": table,
    "fine_tuned": fine_tuned,
    "harmless": harmless,
    "warm": warm,
    "calibration": calibration,
}


def main() -> None:
    data = folder()
    if data is None:
        tell("no preference data: give its folder in TRUTHTUNE_BENCH_DATA; nothing was measured")
        return
    for name in sys.argv[1:] or PARTS:
        PARTS[name](data)


if __name__ == "__main__":
    main()
