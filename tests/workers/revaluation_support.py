"""The files that a group of a settled round holds: its receipt, signed here, and its evidence."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785
from click.testing import Result
from conftest import OfflineRound
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from api_schemas.commitments import commitment, merkle_path, merkle_root
from api_schemas.ledger import ReceiptBody
from client.cli import app

_NOW = "2030-01-08T12:00:00.000Z"
_SALT = bytes(range(32))
_ID = "a" * 26
_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Holder:
    """What group `place` of a settled round can download, in `folder`."""

    def __init__(self, made: OfflineRound, folder: Path, place: int = 0):
        self.folder, self.valued = folder, made.outcome()
        self.report = _report(made, place)
        self.body = _body(made, self.report, place)
        announcement = made.job.announcement.model_dump(mode="json")
        self.announcement = self._write("announcement", announcement)
        self._write("report", self.report)
        self.sign()
        self.adapter = folder / "adapter"
        self.adapter.mkdir(exist_ok=True)
        for file in self.valued.adapter_files:
            (self.adapter / file.name).write_bytes(made.artifacts.get(file.sha256))
        self.pool = folder / "pool"
        self.pool.write_bytes(made.artifacts.get(self.valued.outcome.pool_digest))

    def sign(self) -> None:
        """The body as it is now."""
        message = rfc8785.dumps(self.body)
        signature = base64.b64encode(_PRIVATE.sign(message)).decode()
        self._write(
            "receipt",
            {
                "object": "receipt",
                "id": self.body["receipt_id"],
                "invoice_id": self.body["invoice_id"],
                "body": self.body,
                "body_digest": f"sha256:{hashlib.sha256(message).hexdigest()}",
                "signature": {
                    "algorithm": "ed25519",
                    "key_id": f"sgk_{_ID}",
                    "signature": signature,
                },
                "created_at": _NOW,
            },
        )

    def verify(self, *options: str) -> Result:
        """With all the evidence there is."""
        key = base64.b64encode(_PRIVATE.public_key().public_bytes_raw()).decode()
        arguments = ["receipt", "verify", str(self.folder / "receipt.json"), "--public-key", key]
        for name in ("announcement", "report"):
            arguments += [f"--{name}", str(self.folder / f"{name}.json")]
        arguments += ["--adapter", str(self.adapter), "--pool", str(self.pool), "--json"]
        return CliRunner().invoke(app, [*arguments, *options])

    def _write(self, name: str, value: Any) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(value))
        return path


def found_by(result: Result) -> dict[str, tuple[str, str]]:
    """(result, detail) by check."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code < 2, result.output
    findings = json.loads(result.stdout)["findings"]
    return {each["check"]: (each["result"], each["detail"]) for each in findings}


def failures(result: Result) -> set[str]:
    return {check for check, (found, _) in found_by(result).items() if found == "failed"}


def _report(made: OfflineRound, place: int) -> dict[str, Any]:
    report = made.job.reports[place]
    spec = report.reward_model.model_dump(mode="json")
    content = {"size": report.size, "reward_model": spec}
    return {
        "object": "report",
        "id": f"rep_{_ID}",
        "round_id": made.job.round_id,
        "group_id": report.group_id,
        **content,
        "commitment": commitment(made.job.round_id, report.group_id, _SALT, content),
        "salt": base64.b64encode(_SALT).decode(),
        "probe": None,
        "submitted_at": _NOW,
    }


def _body(made: OfflineRound, report: dict[str, Any], place: int) -> dict[str, Any]:
    outcome = made.outcome().outcome
    group = outcome.groups[place]
    own = report["commitment"]
    everyone = [own, f"sha256:{'1' * 64}", f"sha256:{'e' * 64}"]
    figures = group.model_dump(
        include={"size", "valuation", "others_welfare_without", "others_welfare_with", "surcharge"}
        | {"payment", "utility", "amount_micro_units"}
    )
    rules = outcome.model_dump(
        include={"round_id", "announcement_digest", "counterfactuals", "payment_rule"}
        | {"regularizer", "value_on", "price_per_unit_micro_units", "currency"}
        | {"pool_digest", "adapter_digest"}
    )
    body = {
        "receipt_id": f"rcpt_{_ID}",
        "invoice_id": f"inv_{_ID}",
        "invoice_number": 1,
        "issued_at": _NOW,
        "group_id": group.group_id,
        "report_commitment": own,
        "commitment_root": merkle_root(everyone),
        "commitment_path": merkle_path(everyone, own),
        "others_welfare_difference": figures["others_welfare_without"]
        - figures["others_welfare_with"],
        "divergence": outcome.worlds[0].divergence,
        "certificate_digest": f"sha256:{'0' * 64}",
        "code_version": None,
        "ledger_head": None,
    }
    return ReceiptBody.model_validate(body | figures | rules).model_dump(mode="json")
