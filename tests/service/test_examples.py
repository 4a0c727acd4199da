"""The examples in the API's document: there is one of every response, and they are right."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest

from api_schemas import corpus_examples, examples
from api_schemas.amounts import payment_micro_units
from api_schemas.base import Schema
from api_schemas.commitments import PathStep, commitment, root_of_path
from service.app import create_app
from service.reports.probe import probe
from service.settings import Settings
from service.signing import is_signed
from workers.artifacts import canonical_json, sha256_of

DOCUMENT = create_app(Settings()).openapi()
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
RESPONSES = sorted(
    {
        name
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for name in re.findall("#/components/schemas/([^'\"]+)", str(operation["responses"]))
    }
)


def _schemas_below(schema: type[Schema]) -> Iterator[type[Schema]]:
    for below in schema.__subclasses__():
        yield below
        yield from _schemas_below(below)


# `ListPage[Round]` is called ListPage_Round_ in the document.
MODELS = {re.sub(r"\W", "_", model.__name__): model for model in _schemas_below(Schema)}


def test_the_responses_are_all_found() -> None:
    assert set(RESPONSES) >= {"Audit", "Certificate", "ListPage_Audit_"}
    assert set(RESPONSES) >= {"Round", "Outcome", "KeyWithSecret", "ListPage_JobEvent_", "Problem"}


@pytest.mark.parametrize("name", RESPONSES)
def test_every_response_shows_an_example_that_is_a_whole_response(name: str) -> None:
    assert SCHEMAS[name]["examples"]
    for example in SCHEMAS[name]["examples"]:
        assert MODELS[name].model_validate(example).model_dump(mode="json") == example


@pytest.mark.parametrize("name", [name for name in SCHEMAS if "examples" in SCHEMAS[name]])
def test_an_example_is_valid(name: str) -> None:
    for example in SCHEMAS[name]["examples"]:
        MODELS[name].model_validate(example)


def test_the_examples_digests_are_those_of_what_they_show() -> None:
    round_, report, receipt = examples.ROUND, examples.REPORT, examples.RECEIPT
    assert round_["announcement_digest"] == _digest(round_["announcement"])
    reported = {name: report[name] for name in ("size", "reward_model")}
    salt = base64.b64decode(report["salt"])
    own = commitment(report["round_id"], report["group_id"], salt, reported)
    assert report["commitment"] == receipt["body"]["report_commitment"] == own
    path = [PathStep.model_validate(step) for step in receipt["body"]["commitment_path"]]
    assert root_of_path(own, path) == round_["commitment_root"]
    assert receipt["body"]["commitment_root"] == round_["commitment_root"]
    assert receipt["body_digest"] == _digest(receipt["body"])


def test_the_examples_receipt_is_signed_by_the_examples_key() -> None:
    receipt, key = examples.RECEIPT, examples.SIGNING_KEY
    assert receipt["signature"]["key_id"] == key["id"]
    assert is_signed(receipt["body"], receipt["signature"]["signature"], key["public_key"])


def test_the_examples_certificate_digest_is_that_of_what_the_group_sees() -> None:
    hidden = {"outcome": None, "stages": None}
    certificate = examples.CERTIFICATE
    seen = certificate | {"audited": None, "digests": certificate["digests"] | hidden}
    assert examples.RECEIPT["body"]["certificate_digest"] == _digest(seen)


def test_the_examples_invoice_adds_up() -> None:
    names = ("amount", "amount_credited", "amount_paid", "amount_due")
    amount, credited, paid, due = (examples.INVOICE[f"{name}_micro_units"] for name in names)
    assert amount - credited - paid == due
    assert credited == examples.CREDIT_NOTE["amount_micro_units"]
    assert paid == examples.PAYMENT["amount_micro_units"]


def test_the_examples_figures_follow_from_one_another() -> None:
    outcome, receipt, invoice = examples.OUTCOME, examples.RECEIPT["body"], examples.INVOICE
    (line,), (world,) = outcome["groups"], outcome["worlds"]
    payment = line["others_welfare_without"] - line["others_welfare_with"]
    assert line["payment"] == payment
    assert line["utility"] == line["size"] * line["valuation"] - payment
    assert line["amount_micro_units"] == payment_micro_units(
        payment, outcome["price_per_unit_micro_units"]
    )
    assert invoice["amount_micro_units"] == line["amount_micro_units"]
    assert {name: receipt[name] for name in line if name in receipt} == {
        name: value for name, value in line.items() if name in receipt
    }
    assert world["welfare"] == line["others_welfare_with"] + line["size"] * line["valuation"]
    assert world["optimality_gap"] == world["welfare_optimum"] - world["welfare"]
    assert outcome["certificate"]["largest_gain"] == world["optimality_gap"]


def test_the_examples_prompt_history_is_scored_by_the_formula() -> None:
    history = corpus_examples.PROMPT_HISTORY
    (candidate,) = history["candidates"]
    (judged,) = candidate["judged"]
    longer = len(judged["answer"]) / len(judged["reference"]) - 1
    assert judged["length_penalty"] == history["alpha"] * longer
    scores = [each["score"] for each in judged["criteria"]]
    assert judged["judge_score"] == sum(scores) / len(scores)
    assert judged["score"] == judged["judge_score"] - judged["length_penalty"]
    assert candidate["score"] == judged["score"]


def test_the_examples_of_an_audit_follow_from_its_own_figures() -> None:
    result = examples.AUDIT["result"]
    (truth,), (misreport,) = result["truth"], result["misreports"]
    size = truth["reported_size"]
    for line in (truth, misreport):
        assert line["utility_without_payments"] == size * line["valuation"]
        assert line["utility"] == size * line["valuation"] - line["payment"]
        assert line["gain"] == line["utility"] - truth["utility"]
        unpaid = line["utility_without_payments"] - truth["utility_without_payments"]
        assert line["gain_without_payments"] == unpaid
    assert misreport["reported_size"] == misreport["parameter"] * size
    audited = examples.CERTIFICATE["audited"]
    for name in ("largest_gain", "largest_gain_without_payments", "largest_gain_retrained"):
        assert audited[name] == result[name]
    assert result["largest_gain"] == misreport["gain"]
    assert result["largest_gain_without_payments"] == misreport["gain_without_payments"]


def test_the_examples_probe_is_that_of_its_reward_model() -> None:
    spec = MODELS["Report"].model_validate(examples.REPORT).reward_model  # type: ignore[attr-defined]
    found = probe(spec, ["a prompt", "another", "a third", "a fourth"])
    assert found is not None
    assert found.model_dump() == examples.REPORT["probe"]


def _digest(value: Any) -> str:
    return sha256_of(canonical_json(value))
