"""What can't be read is refused before anything is checked: one line, and exit status 2."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from receipt_support import DOCUMENTS, KEY_ID, Scene, run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


_BAD_TEXTS = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a key twice": '{"object": "receipt", "object": "receipt"}',
    "an infinity": '{"object": 1e999}',
    "no unicode": '{"object": "\\ud800"}',
    "a long integer": '{"object": 9007199254740993}',
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", _BAD_TEXTS.values(), ids=_BAD_TEXTS)
@pytest.mark.parametrize("name", ["receipt", "keys", "report", "round", "certificate"])
def test_what_can_t_be_read_is_one_line_and_status_2(scene: Scene, name: str, text: str) -> None:
    scene.path(name).write_text(text)
    result = run(*scene.arguments(*DOCUMENTS))
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_files_that_are_not_there_are_status_2(scene: Scene, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    for option in ("--report", "--round", "--certificate", "--adapter", "--pool", "--public-key"):
        result = run(*scene.arguments(), option, absent)
        assert result.exit_code == 2, option
        assert absent in result.stderr
    assert run("receipt", "verify", absent, "--public-key", scene.public_key).exit_code == 2


def test_a_receipt_from_before_signatures_is_said_to_be_one(scene: Scene) -> None:
    scene.body["version"] = 1
    scene.save()
    result = run(*scene.arguments())
    assert result.exit_code == 2
    assert "older than signatures" in result.stderr


def test_an_unknown_field_is_not_passed_over(scene: Scene) -> None:
    scene.body["discount"] = 1
    scene.save()
    result = run(*scene.arguments())
    assert result.exit_code == 2
    assert "discount" in result.stderr


def test_a_report_that_nobody_could_have_sent_can_t_be_read(scene: Scene) -> None:
    for change in ({"size": 0}, {"salt": "AAAA"}, {"salt": "no base 64!"}):
        scene.path("report").write_text(json.dumps(scene.report | change))
        result = run(*scene.arguments("report"))
        assert result.exit_code == 2
        (field,) = change
        assert field in result.stderr


def test_no_key_of_a_stranger_s_file_reaches_the_terminal_as_it_is(scene: Scene) -> None:
    scene.body["\x1b[2J"] = 1
    scene.save()
    result = run(*scene.arguments())
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr


def test_only_ed25519_keys_are_taken(scene: Scene) -> None:
    public = generate_private_key(SECP256R1()).public_key()
    scene.path("pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    receipt = str(scene.path("receipt"))
    result = run("receipt", "verify", receipt, "--public-key", str(scene.path("pem")))
    assert result.exit_code == 2
    assert "Ed25519" in result.stderr
    private = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    short = {"id": KEY_ID, "public_key": base64.b64encode(private[:31]).decode()}
    scene.path("keys").write_text(json.dumps({"data": [short]}))
    assert run(*scene.arguments()).exit_code == 2
