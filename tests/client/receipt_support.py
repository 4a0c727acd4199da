"""A receipt signed here, with everything it is bound to, as files of a folder."""

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from api_schemas import commitments
from api_schemas.examples import CERTIFICATE, RECEIPT, REPORT, ROUND
from client.cli import app

KEY_ID = "sgk_" + "1" * 26
OTHER_KEY_ID = "sgk_" + "2" * 26
ADAPTER = {"adapter_config.json": b'{"r": 16}', "adapter_model.safetensors": b"\x00" * 300}
POOL = b"a pool"
DOCUMENTS = ("report", "round", "certificate")


def digest_of(value: Any) -> str:
    return f"sha256:{hashlib.sha256(rfc8785.dumps(value)).hexdigest()}"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Scene:
    """A receipt of one of five groups; change its `body` and `save` to sign it anew."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self.round = copy.deepcopy(ROUND)
        self.report = copy.deepcopy(REPORT)
        self.certificate = copy.deepcopy(CERTIFICATE) | {"audited": None}
        self.body = copy.deepcopy(RECEIPT["body"])
        self.rebind()

    def rebind(self) -> None:
        """Bind the receipt to the documents as they are now, sign it, and write all files."""
        content = {name: self.report[name] for name in ("size", "reward_model")}
        salt = base64.b64decode(self.report["salt"])
        ids = self.report["round_id"], self.report["group_id"]
        own = commitments.commitment(*ids, salt, content)
        everyone = [own, *(sha256(bytes([i])) for i in range(4))]
        self.report["commitment"] = own
        self.round["commitment_root"] = commitments.merkle_root(everyone)
        self.round["announcement_digest"] = digest_of(self.round["announcement"])
        files = {name: sha256(data) for name, data in ADAPTER.items()}
        self.certificate["digests"] |= {
            "adapter": digest_of(files),
            "pool": sha256(POOL),
            "announcement": self.round["announcement_digest"],
        }
        self.body |= {
            "report_commitment": own,
            "commitment_root": self.round["commitment_root"],
            "commitment_path": [
                step.model_dump() for step in commitments.merkle_path(everyone, own)
            ],
            "announcement_digest": self.round["announcement_digest"],
            "adapter_digest": digest_of(files),
            "pool_digest": sha256(POOL),
            "certificate_digest": digest_of(self.certificate),
        }
        self.save()

    def receipt(self, key_id: str = KEY_ID) -> dict[str, Any]:
        """The body as it is now, signed."""
        message = rfc8785.dumps(self.body)
        signature = base64.b64encode(self.private.sign(message)).decode()
        return copy.deepcopy(RECEIPT) | {
            "id": self.body["receipt_id"],
            "invoice_id": self.body["invoice_id"],
            "body": copy.deepcopy(self.body),
            "body_digest": sha256(message),
            "signature": {"algorithm": "ed25519", "key_id": key_id, "signature": signature},
            "created_at": self.body["issued_at"],
        }

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.private.public_key().public_bytes_raw()).decode()

    def keys(self) -> dict[str, Any]:
        """As GET /v1/keys/signing lists them: the signer's, and one that signed before."""
        before = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
        listed = {OTHER_KEY_ID: base64.b64encode(before).decode(), KEY_ID: self.public_key}
        return {
            "object": "list",
            "data": [
                {"object": "signing_key", "id": id_, "algorithm": "ed25519", "public_key": key}
                for id_, key in listed.items()
            ],
        }

    def save(self, **changes: Any) -> None:
        """Write all files; `changes` are to the signed receipt, outside of its body."""
        documents = {
            "receipt": self.receipt() | changes,
            "keys": self.keys(),
            "report": self.report,
            "round": self.round,
            "certificate": self.certificate,
        }
        for name, value in documents.items():
            self.path(name).write_text(json.dumps(value, indent=2))
        self.path("adapter").mkdir(exist_ok=True)
        for name, data in ADAPTER.items():
            (self.path("adapter") / name).write_bytes(data)
        self.path("pool").write_bytes(POOL)
        pem = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        self.path("pem").write_bytes(pem)

    def path(self, name: str) -> Path:
        return self.folder / (f"{name}.json" if name not in ("adapter", "pool", "pem") else name)

    def arguments(self, *names: str) -> list[str]:
        """Options for these of the files, beside the receipt and the keys."""
        options = [part for name in names for part in (f"--{name}", str(self.path(name)))]
        keys = ["--public-key", str(self.path("keys"))]
        return ["receipt", "verify", str(self.path("receipt")), *keys, *options]


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def findings(result: Result) -> dict[str, str]:
    """What each check found, of a run with --json."""
    found = json.loads(result.stdout)
    assert found["verified"] is (result.exit_code == 0)
    return {finding["check"]: finding["result"] for finding in found["findings"]}


def failures(result: Result) -> set[str]:
    return {check for check, found in findings(result).items() if found == "failed"}


def verify(scene: Scene, *names: str) -> Result:
    return run(*scene.arguments(*names), "--json")
