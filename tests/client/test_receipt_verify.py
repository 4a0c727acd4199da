"""`truthtune receipt verify`: what it checks, what it refuses, and what it says it can't."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from receipt_support import (
    DOCUMENTS,
    OTHER_KEY_ID,
    Scene,
    digest_of,
    failures,
    findings,
    run,
    verify,
)

from client.receipts.verification import NOT_PROVEN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_honest_receipt_passes_every_check_that_its_files_allow(scene: Scene) -> None:
    result = verify(scene, *DOCUMENTS)
    assert result.exit_code == 0, result.output
    assert findings(result) == dict.fromkeys(
        [
            "signature",
            "body_digest",
            "ids",
            "difference",
            "payment",
            "amount",
            "utility",
            "inclusion",
            "report",
            "announcement",
            "root",
            "certificate",
        ],
        "checked",
    ) | dict.fromkeys(["adapter", "pool", "valuation"], "not_checked")


def test_without_other_files_the_rest_is_said_to_be_unchecked(scene: Scene) -> None:
    result = run(*scene.arguments())
    assert result.exit_code == 0
    assert "signature: checked: " in result.stdout
    for check in ("report", "announcement", "root", "certificate", "adapter", "pool", "valuation"):
        assert f"{check}: not checked: " in result.stdout


def test_what_no_receipt_proves_is_always_said(scene: Scene) -> None:
    shown = run(*scene.arguments()).stdout
    assert all(f"- {claim}\n" in shown for claim in NOT_PROVEN)
    assert json.loads(verify(scene).stdout)["not_proven"] == list(NOT_PROVEN)
    scene.body["payment"] += 1
    scene.save()
    assert all(f"- {claim}\n" in run(*scene.arguments()).stdout for claim in NOT_PROVEN)


@pytest.mark.parametrize("form", ["base64", "pem", "keys", "listed"])
def test_a_public_key_may_come_in_four_forms(scene: Scene, form: str) -> None:
    key = scene.public_key if form == "base64" else str(scene.path(form))
    if form == "listed":  # as `truthtune signing-key list --json` prints them
        scene.path(form).write_text(json.dumps(scene.keys()["data"]))
    receipt = str(scene.path("receipt"))
    assert run("receipt", "verify", receipt, "--public-key", key).exit_code == 0


def test_of_several_keys_the_one_that_the_receipt_names_decides(scene: Scene) -> None:
    """The other key of the list signed nothing, and naming it doesn't help."""
    receipt = scene.receipt(key_id=OTHER_KEY_ID)
    scene.path("receipt").write_text(json.dumps(receipt))
    assert failures(verify(scene)) == {"signature"}
    bare = run(*scene.arguments(), "--public-key", scene.public_key, "--json")
    assert failures(bare) == {"signature"}


def test_a_receipt_that_another_key_signed_is_refused(scene: Scene) -> None:
    other = base64.b64encode(bytes(range(32))).decode()
    result = run("receipt", "verify", str(scene.path("receipt")), "--public-key", other, "--json")
    assert result.exit_code == 1
    assert failures(result) == {"signature"}
    listed = {"id": OTHER_KEY_ID, "public_key": scene.public_key}
    scene.path("keys").write_text(json.dumps(listed))
    assert failures(verify(scene)) == {"signature"}


def test_without_a_public_key_nothing_is_verified(scene: Scene) -> None:
    result = run("receipt", "verify", str(scene.path("receipt")))
    assert result.exit_code == 2
    assert "--public-key" in result.stderr
    assert result.stderr.count("\n") == 1


def test_standard_input_is_a_file_too(scene: Scene) -> None:
    text = scene.path("receipt").read_text()
    assert (
        run("receipt", "verify", "-", "--public-key", scene.public_key, stdin=text).exit_code == 0
    )


@pytest.mark.parametrize("outside", ["id", "invoice_id", "created_at"])
def test_what_is_said_outside_of_the_signed_body_must_be_what_was_signed(
    scene: Scene, outside: str
) -> None:
    said = scene.receipt()[outside]
    scene.save(**{outside: said.replace("2030", "2031").replace("d4e", "d4f")})
    assert failures(verify(scene)) == {"ids"}


def test_a_signature_has_one_text_only(scene: Scene) -> None:
    """The last digit before the padding carries four idle bits: lax readers pass them over."""
    signature = scene.receipt()["signature"]
    text = signature["signature"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:-3] + digits[digits.index(text[-3]) + 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    scene.save(signature=signature | {"signature": other})
    assert failures(verify(scene)) == {"signature"}


def test_a_body_digest_of_something_else_is_noticed(scene: Scene) -> None:
    scene.save(body_digest=digest_of({}))
    assert failures(verify(scene)) == {"body_digest"}


def _other_report(scene: Scene) -> None:
    scene.report["reward_model"]["features"][0]["weight"] = 1.5


def _other_salt(scene: Scene) -> None:
    scene.report["salt"] = base64.b64encode(bytes(32)).decode()


def _other_size(scene: Scene) -> None:
    scene.report["size"] = 8


def _other_round(scene: Scene) -> None:
    scene.report["round_id"] = "rnd_" + "0" * 26


def _other_root(scene: Scene) -> None:
    scene.round["commitment_root"] = digest_of({})


def _other_lambda(scene: Scene) -> None:
    scene.round["announcement"]["regularizer"]["coefficient"] = 2.0


def _other_round_rules(scene: Scene) -> None:
    scene.round["announcement_digest"] = digest_of({})


def _other_gain(scene: Scene) -> None:
    scene.certificate["certificate"]["largest_gain"] = 0.25


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_other_report, "report"),
        (_other_salt, "report"),
        (_other_size, "report"),
        (_other_round, "report"),
        (_other_root, "root"),
        (_other_round_rules, "root"),
        (_other_lambda, "announcement"),
        (_other_gain, "certificate"),
    ],
)
def test_evidence_that_is_not_what_the_receipt_names_fails_its_check(
    scene: Scene, change: Any, check: str
) -> None:
    change(scene)
    scene.save()
    result = verify(scene, *DOCUMENTS)
    assert result.exit_code == 1
    assert failures(result) == {check}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("counterfactuals", "bound"),
        ("currency", "USD"),
        ("regularizer", {"type": "kl", "coefficient": 1.5}),
        ("value_on", "mixture"),
    ],
)
def test_a_signed_receipt_by_other_rules_than_announced_fails(
    scene: Scene, field: str, value: Any
) -> None:
    scene.body[field] = value
    scene.save()
    assert failures(verify(scene, "round")) == {"announcement"}


def test_an_announcement_alone_is_evidence_too(scene: Scene) -> None:
    announcement = scene.folder / "announcement.json"
    announcement.write_text(json.dumps(scene.round["announcement"]))
    result = run(*scene.arguments(), "--announcement", str(announcement), "--json")
    assert findings(result)["announcement"] == "checked"
    assert findings(result)["root"] == "not_checked"


def test_audits_after_the_settlement_leave_the_certificate_valid(scene: Scene) -> None:
    scene.certificate["audited"] = {
        "audits": 1,
        "largest_gain": 0.0,
        "largest_gain_without_payments": None,
        "largest_gain_retrained": None,
    }
    scene.path("certificate").write_text(json.dumps(scene.certificate))
    assert findings(verify(scene, "certificate"))["certificate"] == "checked"


def test_a_certificate_of_another_pool_fails_even_if_signed(scene: Scene) -> None:
    scene.certificate["digests"]["pool"] = digest_of({})
    scene.body["certificate_digest"] = digest_of(scene.certificate)
    scene.save()
    assert failures(verify(scene, "certificate")) == {"certificate"}


def test_an_adapter_or_a_pool_of_other_bytes_fails(scene: Scene) -> None:
    (scene.path("adapter") / "adapter_config.json").write_bytes(b'{"r": 17}')
    scene.path("pool").write_bytes(b"another pool")
    result = verify(scene, *DOCUMENTS, "adapter", "pool")
    assert failures(result) == {"adapter", "pool"}
    assert findings(result)["valuation"] == "not_checked"  # it would be another model's


def test_a_file_too_many_is_another_adapter_unless_it_is_hidden(scene: Scene) -> None:
    (scene.path("adapter") / ".cache").write_bytes(b"")
    assert findings(verify(scene, "adapter"))["adapter"] == "checked"
    (scene.path("adapter") / "code.py").write_bytes(b"")
    assert failures(verify(scene, "adapter")) == {"adapter"}


def test_with_two_groups_the_others_welfare_is_not_told_and_not_missed(scene: Scene) -> None:
    scene.body |= {"others_welfare_without": None, "others_welfare_with": None}
    scene.save()
    found = findings(verify(scene))
    assert found["difference"] == "not_checked"
    assert found["payment"] == "checked"


def test_one_welfare_without_the_other_is_no_receipt_of_ours(scene: Scene) -> None:
    scene.body["others_welfare_with"] = None
    scene.save()
    assert failures(verify(scene)) == {"difference"}


@pytest.mark.parametrize(
    ("rule", "surcharge"), [("revenue_maximizing", None), ("affine_maximizer", 0.25)]
)
def test_a_surcharge_belongs_to_one_payment_rule(
    scene: Scene, rule: str, surcharge: float | None
) -> None:
    scene.body |= {"payment_rule": rule, "surcharge": surcharge}
    scene.save()
    assert failures(verify(scene)) == {"payment"}


def test_figures_beyond_what_a_float_holds_fail_instead_of_crashing(scene: Scene) -> None:
    scene.body |= {
        "others_welfare_without": 1.7e308,
        "others_welfare_with": -1.7e308,
        "payment": 1.7e308,
    }
    scene.save()
    assert failures(verify(scene)) == {"difference", "payment", "amount", "utility"}


def test_an_amount_rounds_towards_minus_infinity(scene: Scene) -> None:
    """−0.1 as a float is a little below −0.1, so that −100,001 micro-units are its floor."""
    scene.body |= {
        "others_welfare_without": 5.875,
        "others_welfare_with": 5.975,
        "others_welfare_difference": -0.1,
        "payment": -0.1,
        "utility": 7 * 0.6875 + 0.1,
        "amount_micro_units": -100_001,
    }
    scene.save()
    assert verify(scene).exit_code == 0
    scene.body["amount_micro_units"] = -100_000
    scene.save()
    assert failures(verify(scene)) == {"amount"}


def test_it_works_offline_and_loads_no_service_and_no_model(scene: Scene) -> None:
    """In a process of its own, in which connecting to anything raises."""
    code = (
        "import json, socket, sys\n"
        "def refuse(*_): raise OSError('offline')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        f"sys.argv = ['truthtune', *{scene.arguments(*DOCUMENTS)!r}, '--json']\n"
        "from client import cli\n"
        "try: cli.main()\n"
        "except SystemExit as ended: status = ended.code\n"
        "print(json.dumps([status, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status in (0, None)
    absent = {"service", "workers", "sqlalchemy", "fastapi", "torch", "ray", "numpy", "migrations"}
    assert set(modules) & absent == set()
