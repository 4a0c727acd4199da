"""Tables of what was measured, fitted and played."""

from collections.abc import Mapping
from typing import Any

from .devices import GPUS
from .markdown import duration, percent, short, size_of, table

Found = Mapping[str, Any]


def hardware() -> str:
    head = ("device", "bf16 TFLOP/s", "HBM", "memory", "share of FLOP/s", "of HBM", "$/h")
    rows = [
        (
            each.name,
            f"{each.peak_flops / 1e12:.0f}",
            f"{each.bandwidth / 1e12:.2f} TB/s",
            size_of(each.memory),
            f"{each.flops_share:.0%}",
            f"{each.bandwidth_share:.0%}",
            f"{each.dollars_an_hour:.2f}",
        )
        for each in GPUS
    ]
    return table(head, rows)


def constants(found: Found) -> str:
    fitted = found["constants"]
    rows = [
        ("matrix products", f"{1 / fitted['flop'] / 1e9:.1f} GFLOP/s"),
        ("logits", f"{fitted['logit'] * 1e9:.2f} ns each"),
        ("a layer's call", f"{fitted['call'] * 1e6:.0f} µs"),
    ]
    return table(("constant of a core", "fitted"), rows)


def measured(found: Found) -> str:
    head = ("work", "model", "size", "measured", "by the model", "off")
    rows = [
        (
            each["kind"],
            each["model"] + (", held out" if each["held_out"] else ""),
            each["size"],
            f"{each['seconds']:.3g} s",
            f"{each['predicted']:.3g} s",
            percent(each["predicted"] / each["seconds"] - 1),
        )
        for each in found["measurements"]
    ]
    return table(head, rows)


def arithmetic(found: Found) -> str:
    head = ("work", "a unit", "bytes", "held out at", "measured", "by the model", "off")
    return table(head, [_held_out(found, each) for each in found["arithmetic_held_out"]])


def _held_out(found: Found, each: Found) -> tuple[str, ...]:
    fitted = found["arithmetic"][each["kind"]]
    units = "; ".join(
        f"{short(fitted[name] * 1e9)} ns a {name}" for name in each["units"] if fitted[name]
    )
    first = next(iter(each["units"]))
    held = "" if each["kind"] in NO_BYTES else f"{short(fitted['bytes'])} a {first}"
    groups = each["units"].get("response", each["groups"])
    return (
        each["kind"],
        units,
        held,
        f"{groups:,}" + (" responses" if "response" in each["units"] else " groups"),
        f"{short(each['seconds'])} s",
        f"{short(each['predicted'])} s",
        percent(each["predicted"] / each["seconds"] - 1),
    )


NO_BYTES = ("settle", "value: agreement", "solve: one world", "solve: streamed payments")
"""What these hold is not of their first unit; `outcome` has what the first two write."""


def real_round(found: Found) -> str:
    head = ("stage", "core seconds measured", "by the model", "off")
    rows = [
        (
            f"`{name}`",
            f"{each['seconds']:.2f}",
            f"{each['predicted']:.2f}",
            percent(each["predicted"] / each["seconds"] - 1),
        )
        for name, each in found["round"]["stages"].items()
    ]
    return table(head, rows)


def one_by_one(found: Found) -> str:
    head = ("disturbance", "formula", "played", "difference")
    return table(head, [_compared(each) for each in found["simulation"]["one_by_one"]])


def _compared(each: Found) -> tuple[str, ...]:
    return (
        each["what"],
        duration(each["formula"]),
        duration(each["simulated"]),
        f"{100 * each['difference']:+.1f} %".replace("-", "−"),
    )


def all_at_once(found: Found) -> str:
    head = (
        "rounds",
        "machines",
        "undisturbed",
        "formula",
        "played",
        "difference",
        "waited",
        "busy",
    )
    lines = [
        (
            each["what"],
            each["machines"],
            duration(each["undisturbed"]),
            duration(each["formula"]),
            duration(each["simulated"]),
            f"{100 * each['difference']:+.1f} %".replace("-", "−"),
            f"{duration(each['wait_simulated'])} ({duration(each['wait_formula'])})",
            f"{each['utilisation']:.0%}",
        )
        for each in found["simulation"]["all_at_once"]
    ]
    return table(head, lines)
