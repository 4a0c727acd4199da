"""What a changed receipt is caught by: its signature, or the arithmetic if it was signed anew."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from receipt_support import Scene

from api_schemas.errors import InvalidInput
from api_schemas.strict_json import NotJsonError, parse_json
from client.receipts.evidence import Evidence, read_announcement
from client.receipts.files import read_receipt
from client.receipts.keys import PublicKey, read_keys
from client.receipts.verification import verify

SIGNED_ONLY = {"divergence", "invoice_number", "ledger_head.sequence"}
"""Figures that nothing else in a receipt follows from: the signature alone protects them, and the
adapter with the pool the divergence."""
CAUGHT_BY = {
    "size": {"utility"},
    "valuation": {"utility"},
    "others_welfare_without": {"difference"},
    "others_welfare_with": {"difference"},
    "others_welfare_difference": {"difference", "payment"},
    "surcharge": {"payment"},
    "payment": {"payment", "amount", "utility"},
    "utility": {"utility"},
    "price_per_unit_micro_units": {"amount", "announcement"},
    "amount_micro_units": {"amount"},
    "regularizer.coefficient": {"announcement"},
    **{name: set() for name in SIGNED_ONLY},
}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Under `revenue_maximizing`, so that no figure is null."""
    scene = Scene(tmp_path)
    scene.round["announcement"] |= {
        "payment_rule": "revenue_maximizing",
        "counterfactuals": "closed_form",
    }
    scene.body |= {
        "payment_rule": "revenue_maximizing",
        "counterfactuals": "closed_form",
        "surcharge": 0.3,
        "others_welfare_without": 6.2,
        "others_welfare_with": 5.9,
        "others_welfare_difference": 6.2 - 5.9,
        "payment": 6.2 - 5.9 + 0.3,
        "amount_micro_units": 599_999,  # 6.2 − 5.9 is a little below 0.3 in float64
        "utility": 7 * 0.6875 - (6.2 - 5.9 + 0.3),
        "divergence": 1.2345678901234567e-7,  # an exponent has other readings than digits
    }
    scene.rebind()
    return scene


def caught_by(receipt: Path, keys: list[PublicKey], evidence: Evidence) -> set[str]:
    """The checks that fail, or `parse`."""
    try:
        found = verify(read_receipt(receipt), keys, evidence, lambda stated: None)
    except InvalidInput:
        return {"parse"}
    return {finding.check for finding in found.findings if finding.result == "failed"}


def same_meaning(data: bytes, value: Any) -> bool:
    """Whether it reads as the same JSON: `1e-7` may become `1E-7`, or get an idle digit."""
    try:
        return bool(rfc8785.dumps(parse_json(data.decode())) == rfc8785.dumps(value))
    except (UnicodeDecodeError, NotJsonError, rfc8785.CanonicalizationError, ValueError):
        return False


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def require_every_flip_caught(scene: Scene, bits: Iterator[int], wanted: int | None) -> int:
    """How many of the flips changed the meaning; each of them must be caught."""
    value = scene.receipt()
    data, changed = rfc8785.dumps(value), 0
    keys = read_keys(str(scene.path("keys")))
    for bit in bits:
        damaged = flipped(data, bit)
        if same_meaning(damaged, value):
            continue
        scene.path("receipt").write_bytes(damaged)
        by = caught_by(scene.path("receipt"), keys, Evidence())
        assert by & {"parse", "signature", "body_digest", "ids"}, (bit, damaged)
        changed += 1
        if changed == wanted:
            break
    return changed


def test_an_undamaged_receipt_is_not_caught(scene: Scene) -> None:
    scene.path("receipt").write_bytes(rfc8785.dumps(scene.receipt()))
    keys = read_keys(str(scene.path("keys")))
    assert caught_by(scene.path("receipt"), keys, Evidence()) == set()


def test_1000_of_1000_random_flipped_bits_are_caught(scene: Scene) -> None:
    places = random.Random(5)
    bits = 8 * len(rfc8785.dumps(scene.receipt()))
    assert require_every_flip_caught(scene, iter(lambda: places.randrange(bits), -1), 1000) == 1000


@pytest.mark.slow
def test_every_single_flipped_bit_of_a_receipt_is_caught(scene: Scene) -> None:
    bits = 8 * len(rfc8785.dumps(scene.receipt()))
    changed = require_every_flip_caught(scene, iter(range(bits)), None)
    print(f"receipts: {changed} of {changed} flipped bits caught, {bits - changed} change nothing")
    assert changed > 0.99 * bits


def test_the_table_names_every_figure_of_a_receipt(scene: Scene) -> None:
    assert set(figures(scene.body)) == CAUGHT_BY.keys()


@pytest.mark.parametrize("name", sorted(CAUGHT_BY))
def test_a_figure_changed_and_signed_anew_is_caught_by_what_follows_from_it(
    scene: Scene, name: str
) -> None:
    keys = read_keys(str(scene.path("keys")))
    evidence = Evidence(announcement=read_announcement(scene.path("round")))
    holder, last = scene.body, name.split(".")[-1]
    for part in name.split(".")[:-1]:
        holder = holder[part]
    honest = holder[last]
    others = [honest + 1, honest + 2] if isinstance(honest, int) else [honest * 1.001, honest + 1]
    for other in others:
        holder[last] = other
        scene.save()
        assert caught_by(scene.path("receipt"), keys, evidence) == CAUGHT_BY[name]


def figures(value: Any, path: str = "") -> Iterator[str]:
    """Paths of all numbers but the version, which must be 2."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from figures(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, int | float) and path != "version":
        yield path


def test_a_changed_figure_that_nobody_signed_is_caught_by_the_signature(scene: Scene) -> None:
    keys = read_keys(str(scene.path("keys")))
    for name in SIGNED_ONLY - {"ledger_head.sequence"}:
        receipt = scene.receipt()
        receipt["body"][name] += 1
        scene.path("receipt").write_text(json.dumps(receipt))
        assert caught_by(scene.path("receipt"), keys, Evidence()) == {"signature", "body_digest"}
