"""What `truthtune solve` costs: seconds and memory of the command, by groups and by responses."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "solve-growth.svg"
RESPONSES_A_PROMPT = 1000
GROUPS = (10, 30, 100, 300, 1000)
RESPONSES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
AT_RESPONSES, AT_GROUPS = 100_000, 1000
COEFFICIENTS = {"kl": 10.0, "l2": 10_000.0}
"""Such that the optimum under either leaves every response some weight: the most expensive case."""

LIMIT_SECONDS, LIMIT_GIB = 60.0, 4.0


def write_game(folder: Path, groups: int, responses: int) -> None:
    """A random game with max-normalised float32 rewards, and a game file for each regulariser."""
    rng = np.random.default_rng(groups + responses)
    prompts = responses // RESPONSES_A_PROMPT
    shape = (prompts, groups, RESPONSES_A_PROMPT)
    with (folder / "rewards.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(prompts):
            rewards_NJ = rng.random(shape[1:], dtype=np.float32)
            rewards_NJ[:, 0] = 1.0
            file.write(rewards_NJ.tobytes())
    sizes = rng.integers(1, 11, groups).tolist()
    for name, coefficient in COEFFICIENTS.items():
        game = {
            "kind": "pool",
            "regularizer": name,
            f"{name}_coefficient": coefficient,
            "sizes": sizes,
            "arrays": {"rewards": "rewards.npy"},
        }
        (folder / f"{name}.json").write_text(json.dumps(game))


def measured(game: Path, *options: str) -> dict[str, Any]:
    """Seconds on the clock, seconds of processor time, and peak memory of one run in GiB."""
    command = [sys.executable, "-m", "client.cli", "solve", str(game), *options]
    output = ["--out", str(game.with_suffix(".outcome"))]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *output])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return {
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gib": peak_bytes(usage) / 2**30,
    }


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Linux counts in KiB, macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_all() -> list[dict[str, Any]]:
    sizes = [(groups, AT_RESPONSES) for groups in GROUPS]
    sizes += [(AT_GROUPS, responses) for responses in RESPONSES if responses != AT_RESPONSES]
    runs = []
    for groups, responses in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_game(Path(folder), groups, responses)
            for name in COEFFICIENTS:
                run = measured(Path(folder) / f"{name}.json")
                runs.append({"regularizer": name, "groups": groups, "responses": responses} | run)
                print(runs[-1], flush=True)
            if (groups, responses) == (GROUPS[-1], RESPONSES[-1]):
                options = ("--payment-rule", "revenue_maximizing")
                run = measured(Path(folder) / "kl.json", *options)
                runs.append(
                    {"regularizer": "kl", "groups": groups, "responses": responses}
                    | {"payment_rule": "revenue_maximizing"}
                    | run
                )
    return runs


def plot(runs: list[dict[str, Any]]) -> None:
    """Seconds against groups and against responses, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    axes = (
        (panels[0], "groups", "responses", AT_RESPONSES),
        (panels[1], "responses", "groups", AT_GROUPS),
    )
    for panel, along, other, fixed in axes:
        for name, marker in (("kl", "o"), ("l2", "s")):
            found = [
                (run[along], run["seconds"])
                for run in runs
                if (run["regularizer"], run[other]) == (name, fixed) and "payment_rule" not in run
            ]
            panel.loglog(*zip(*sorted(found), strict=True), marker=marker, label=name.upper())
        panel.set_xlabel(f"{along}, with {fixed:,} {other}")
        panel.grid(True, which="major", alpha=0.3)
    panels[0].set_ylabel("seconds, start to finish")
    panels[0].legend()
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    plt.rcParams["svg.hashsalt"] = "solve-growth"
    figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    # Others' load on the machine lengthens seconds, not processor seconds.
    load_before = os.getloadavg()[0]
    runs = measure_all()
    plot(runs)
    # Imported only now, with torch: a process inherits its parent's size as its peak memory.
    from measure import record

    record("solve", {"load_before": load_before, "runs": runs})
    largest = [run for run in runs if run["groups"] * run["responses"] == 10**9]
    for run in largest:
        if run["regularizer"] == "kl" and "payment_rule" not in run:
            assert run["seconds"] <= LIMIT_SECONDS, run
        assert run["peak_gib"] <= LIMIT_GIB, run


if __name__ == "__main__":
    main()
