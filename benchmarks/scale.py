"""The cost model of docs/scale.md: its constants from measurements here, and its simulation.

`python benchmarks/scale.py [PART …]` measures anew, all or some of the parts, and plays what was
found: `arithmetic`, `models` and `round` take some minutes each on one core. `tables` prints those
of the page from the results that are kept, `figures` draws the page's.
"""

import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from scaling import figures, tables

RESULTS = Path(__file__).parent / "results" / "scale-cpu.json"
PROMPTS, STEPS = 2, 1
"""Of the round that is run beside the model: the demo's, cut to what some minutes allow."""
_WRITTEN = ("benchmark", "machine", "torch")
"""What `record` writes itself."""

Found = dict[str, Any]


def arithmetic(_found: Found) -> Found:
    """What grows with the groups alone, and the database's part."""
    from scaling import arithmetic, settling

    settled = settling.measure_all()
    taken = [*arithmetic.measure_all(), *settled]
    fitted = arithmetic.constants(taken)
    return {
        "arithmetic": fitted,
        "arithmetic_held_out": [
            each.as_json() | {"predicted": arithmetic.predicted(fitted, each)}
            for each in taken
            if each.held_out
        ],
        "outcome": settling.outcome_sizes(settled),
        "writes": settling.writes_a_second(),
        "request_processor_ms": request_processor_ms(),
    }


def request_processor_ms() -> float:
    """Of a page on SQLite with 10,000 rounds, the median of benchmarks/dashboard.py's."""
    pages = json.loads((RESULTS.parent / "dashboard-cpu.json").read_text())["sqlite"]
    return statistics.median(page["processor_ms"] for page in pages.values())


def models(_found: Found) -> Found:
    """Drawing, log-probabilities and training steps on models of several sizes."""
    from scaling import fit, measuring

    load_before = os.getloadavg()[0]
    measurements = measuring.measure_all()
    constants = fit.fitted(measurements)
    return {
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "constants": constants,
        "measurements": [
            each.as_json() | {"predicted": fit.predicted(constants, each)} for each in measurements
        ],
    }


def real_round(found: Found) -> Found:
    """A round on SmolLM2 beside the formulas, and played."""
    from quote import ROUNDS, job_of
    from scaling.real_round import compared
    from scaling.simulation import Round, Setup, Simulation, StagePlan

    name, setup = ROUNDS["smollm2"]
    make_job = partial(job_of, base_model=name, setup=setup, less=[PROMPTS, STEPS])
    taken = compared(make_job, found)
    plans = [StagePlan(each["predicted"], devices=False) for each in taken["stages"].values()]
    (alone,) = Simulation(Setup(), [Round(0.0, plans)]).run().rounds
    return {"round": taken | {"played": alone.finished}}


def played(found: Found) -> Found:
    from scaling import playing

    return {
        "simulation": {
            "one_by_one": [each.as_json() for each in playing.one_by_one()],
            "all_at_once": playing.all_at_once(found),
        }
    }


PARTS: Mapping[str, Callable[[Found], Found]] = {
    "arithmetic": arithmetic,
    "models": models,
    "round": real_round,
    "played": played,
}


def kept() -> Found:
    found: Found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def main() -> None:
    asked = sys.argv[1:]
    if asked == ["tables"]:
        for name, draw in tables.TABLES.items():
            print(f"\n{name}\n\n{draw(kept())}")
        return
    if asked == ["figures"]:
        figures.write_all(kept())
        return
    unknown = set(asked) - set(PARTS)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    from measure import record

    for name in asked or PARTS:
        found = PARTS[name](kept())
        # Read anew: another part may have been measured meanwhile.
        before = {key: value for key, value in kept().items() if key not in _WRITTEN}
        record("scale", before | found)


if __name__ == "__main__":
    main()
