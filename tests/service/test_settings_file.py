"""The settings file: read strictly, written whole by `truthtune init`, never losing a secret."""

import json
import re
import stat
from pathlib import Path

import pytest
from support import SEAL_KEY
from typer.testing import CliRunner, Result

from api_schemas.errors import InvalidInput
from api_schemas.settings_file import DEFAULT_FILE, line_of, read_settings_file
from service.cli import app
from service.settings import Settings, load_settings
from service.vault import load_vault

VARIABLES = [f"TRUTHTUNE_{name.upper()}" for name in Settings.model_fields]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings file is looked for: in a working directory without one."""
    monkeypatch.delenv("TRUTHTUNE_SETTINGS_FILE")
    monkeypatch.chdir(tmp_path)
    return tmp_path / DEFAULT_FILE


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings() == Settings.model_construct()
    file.write_text("# mine\n\nTRUTHTUNE_PORT=81\nTRUTHTUNE_HOST='::1'\nTRUTHTUNE_URL=http://x\n")
    monkeypatch.setenv("TRUTHTUNE_PORT", "82")
    found = load_settings()
    assert (found.port, found.host, found.max_attempts) == (82, "::1", 10)
    assert Settings(host="here").host == "here"


def test_the_variable_leads_to_another_file_which_must_be_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.with_name("other.env")
    monkeypatch.setenv("TRUTHTUNE_SETTINGS_FILE", str(other))
    with pytest.raises(InvalidInput, match=f"{other} is absent.*truthtune init"):
        load_settings()
    other.write_text("TRUTHTUNE_PORT=81\r\n")
    assert load_settings().port == 81


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("TRUTHTUNE_PORT 81", "is not NAME=value"),
        ("export TRUTHTUNE_PORT=81", "is not NAME=value"),
        ("PORT=81", "starts with TRUTHTUNE_"),
        ("TRUTHTUNE_PORT=", "TRUTHTUNE_PORT has no value"),
        ("TRUTHTUNE_HOST='::1", "TRUTHTUNE_HOST has a quote without its end"),
        ("TRUTHTUNE_HOST=::1 # mine", 'TRUTHTUNE_HOST holds " #"'),
        ("TRUTHTUNE_HOME=again", "TRUTHTUNE_HOME is set on line 1 already"),
        ("TRUTHTUNE_PROT=81", "TRUTHTUNE_PROT is no setting; is TRUTHTUNE_PORT meant?"),
        ("TRUTHTUNE_MODEL_CACHE=/models", "is read from the environment alone"),
        ("TRUTHTUNE_PORT=many", "TRUTHTUNE_PORT: Input should be a valid integer"),
        ("TRUTHTUNE_KEY_SECRET=short", "TRUTHTUNE_KEY_SECRET: String should have at least 32"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_setting(file: Path, line: str, reason: str) -> None:
    file.write_text(f"TRUTHTUNE_HOME=home\n\n{line}\n")
    refused = run("db", "check")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"truthtune: {DEFAULT_FILE}, line 3")
    assert reason in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_file_that_is_no_text_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert f"{DEFAULT_FILE} can't be read" in run("db", "check").stderr


@pytest.mark.parametrize(
    "value",
    ["", "a", "a=b", "a # b", "# a", '"a', "'a'", '"', " a ", "a\\n$b", "é", "a;b`c`", "a#b"],
)
def test_whatever_value_is_written_is_read_again(file: Path, value: str) -> None:
    file.write_text(line_of("TRUTHTUNE_HOST", value) + "\n", encoding="utf-8")
    assert read_settings_file(file).value("TRUTHTUNE_HOST") == value


def test_a_value_of_two_lines_is_refused_before_it_is_written() -> None:
    with pytest.raises(InvalidInput, match="TRUTHTUNE_HOST holds a line break"):
        line_of("TRUTHTUNE_HOST", "a\nTRUTHTUNE_PORT=1")


def test_init_writes_every_setting_commented_out_with_its_reason_and_default(file: Path) -> None:
    made = run("init")
    assert made.exit_code == 0
    assert DEFAULT_FILE in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    entries = re.findall(r"(?:^# .+\n)+^#(TRUTHTUNE_[A-Z_]+)=", text, re.MULTILINE)
    assert entries == [*VARIABLES, "TRUTHTUNE_URL", "TRUTHTUNE_API_KEY"]
    plain = " ".join(text.replace("\n# ", " ").split())
    for field in Settings.model_fields.values():
        assert " ".join((field.description or "").split()) in plain
    assert load_settings() == Settings.model_construct(), "a new file changes nothing"


def test_the_defaults_that_init_writes_are_the_settings_own(file: Path) -> None:
    run("init")
    given = re.sub(r"^#(TRUTHTUNE_[A-Z_]+=.)", r"\1", file.read_text(), flags=re.MULTILINE)
    file.write_text(given)
    assert load_settings() == Settings.model_construct()
    assert "\nTRUTHTUNE_PORT=8321\n" in given


def test_init_overwrites_nothing_and_with_force_keeps_what_is_set(file: Path) -> None:
    file.write_text(f"TRUTHTUNE_SEAL_KEY={SEAL_KEY}\nTRUTHTUNE_HOME=my home\n")
    before = file.read_bytes()
    refused = run("init")
    assert (refused.exit_code, file.read_bytes()) == (1, before)
    assert "--force" in refused.stderr
    done = run("init", "--force", "--json")
    assert json.loads(done.stdout) == {
        "object": "settings_file",
        "file": DEFAULT_FILE,
        "set": ["TRUTHTUNE_HOME", "TRUTHTUNE_SEAL_KEY"],
    }
    assert load_settings().seal_key == SEAL_KEY
    assert load_settings().home == Path("my home")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "\n#TRUTHTUNE_PORT=8321\n" in file.read_text()
    assert sorted(each.name for each in file.parent.iterdir()) == [DEFAULT_FILE]


def test_force_leaves_a_file_alone_that_it_cannot_read_to_its_end(file: Path) -> None:
    for broken in ("TRUTHTUNE_SEAL_KEY\n", "TRUTHTUNE_OLD_SETTING=1\n"):
        file.write_text(broken)
        refused = run("init", "--force")
        assert (refused.exit_code, file.read_text()) == (1, broken)
        assert f"{DEFAULT_FILE}, line 1" in refused.stderr


def test_the_secrets_that_init_writes_are_those_in_use(file: Path) -> None:
    sealed = load_vault(Settings(home=file.parent / ".truthtune")).seal(b"a report", "here")
    assert run("init", "--secrets").exit_code == 0
    for name in ("key_secret", "seal_key"):
        assert str(getattr(load_settings(), name)) in file.read_text()
        (file.parent / ".truthtune" / name).unlink()
    assert load_vault(load_settings()).open(sealed, "here") == b"a report"


def test_a_file_that_cannot_be_written_is_named(file: Path) -> None:
    refused = run("init", "--file", "absent/truthtune.env")
    assert refused.exit_code == 1
    assert "absent/truthtune.env can't be written: No such file or directory" in refused.stderr
