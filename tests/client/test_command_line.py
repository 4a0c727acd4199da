"""The command line against a real server, in processes of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from client_support import RunningService
from typer.testing import CliRunner

from client import Truthtune, cli
from client.commands.base_models import app as base_models_app
from client.commands.keys import app as keys_app

HEAVY = ("fastapi", "sqlalchemy", "torch", "ray", "transformers", "numpy", "service", "workers")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def environment(service: RunningService, tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "TRUTHTUNE_URL": service.url,
        "TRUTHTUNE_API_KEY": service.operator_key,
        "TRUTHTUNE_HOME": str(tmp_path / "home"),
    }


def truthtune(
    environment: dict[str, str], *arguments: str | Path
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "client.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def result(environment: dict[str, str], *arguments: str | Path) -> dict[str, object]:
    done = truthtune(environment, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_round_goes_from_its_file_to_a_queued_job(
    environment: dict[str, str], tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "red sun"}\n')
    announcement = tmp_path / "round.toml"
    announcement.write_text(
        'name = "From a file"\nbase_model = "tiny-enumerable"\nmax_group_size = 9\n'
        'price_per_unit_micro_units = 1000000\npool = {method = "enumerate"}\n'
        "generation = {max_new_tokens = 2}\nregularizer = {coefficient = 1.0}\n"
    )
    preferences = tmp_path / "preferences.jsonl"
    pairs = [{"prompt": f"red {n}", "chosen": "sun", "rejected": "rain"} for n in range(10)]
    preferences.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))

    group_id = result(environment, "group", "create", "from the command line")["id"]
    key = result(environment, "group", "create-key", str(group_id))["secret"]
    file_id = result(environment, "file", "upload", prompts, "--purpose", "prompts")["id"]
    round_id = str(
        result(environment, "round", "create", announcement, "--prompts-file-id", str(file_id))[
            "id"
        ]
    )
    assert result(environment, "round", "open", round_id)["state"] == "open"
    member = environment | {"TRUTHTUNE_API_KEY": str(key)}
    report = ("report", "submit", round_id, "--size", "4", "--preferences", preferences)
    assert result(member, *report)["size"] == 4
    assert result(member, "report", "show", round_id)["group_id"] == group_id
    closed = result(environment, "round", "close", round_id)
    assert closed["state"] == "closed"
    job_id = str(closed["job_id"])
    assert result(environment, "job", "cancel", job_id)["status"] == "cancelled"
    watched = truthtune(environment, "job", "watch", job_id)
    assert watched.returncode == 1
    assert "job_queued" in watched.stdout
    assert f"job {job_id} cancelled" in watched.stderr


def test_lists_show_whole_identifiers_where_there_is_no_terminal(
    environment: dict[str, str], operator: Truthtune
) -> None:
    group_id = operator.groups.create("in a table").id
    done = truthtune(environment, "group", "list")
    assert group_id in done.stdout
    assert "in a table" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["round", "show", "rnd_" + "0" * 26], ["rnd_" + "0" * 26]),
        (["file", "upload", "absent.jsonl", "--purpose", "prompts"], ["absent.jsonl", "No such"]),
        (["file", "upload", "README.md", "--purpose", "poems"], ["--purpose", "'poems'"]),
        (["file", "upload", "README.md", "--purpose", "prompts"], ["file", "line 1"]),
        (["round", "create", "README.md"], ["README.md is not JSON"]),
        (["round", "create", "pyproject.toml"], ["pyproject.toml", "name: Field required"]),
        (["report", "submit", "rnd_x", "--size", "1"], ["--spec, --preferences", "--trained"]),
    ],
)
def test_an_error_is_one_line_that_names_what_is_wrong_and_exits_with_1(
    environment: dict[str, str], arguments: list[str], words: list[str]
) -> None:
    done = truthtune(environment, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("truthtune: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_without_a_key_nothing_is_asked(environment: dict[str, str]) -> None:
    del environment["TRUTHTUNE_API_KEY"]
    done = truthtune(environment | {"TRUTHTUNE_URL": "http://127.0.0.1:1"}, "group", "list")
    assert done.returncode == 1
    assert "TRUTHTUNE_API_KEY" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["receipt", "show", "rcpt_x"], ["group", "--help"], ["job", "watch", "job_x"]],
)
def test_a_command_of_the_client_imports_neither_server_nor_workers(
    environment: dict[str, str], arguments: list[str]
) -> None:
    program = (
        "import sys\nfrom client import cli\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        f"print('imported', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "imported []", done.stderr


def test_help_shows_the_mounted_commands_too(environment: dict[str, str]) -> None:
    done = truthtune(environment, "--help")
    assert done.returncode == 0
    for command in ("receipt", "audit", "up", "serve", "coordinator", "db", "key", "base-model"):
        assert f" {command} " in done.stdout


def test_a_mounted_command_runs(environment: dict[str, str]) -> None:
    done = truthtune(environment, "db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert "schema version" in done.stdout


def test_no_name_stands_for_two_commands() -> None:
    groups, commands = cli.app.registered_groups, cli.app.registered_commands
    own = {added.name for added in (*groups, *commands)}
    mounted = [name for module in cli._MOUNTED for name in cli._commands(module)]
    assert len(mounted) == len(set(mounted))
    assert own & set(mounted) == {"base-model", "key"}  # one group, with the commands of both
    keys = {command.name or command.callback.__name__ for command in keys_app.registered_commands}
    assert keys.isdisjoint(cli._key_commands())
    bases = {
        command.name or command.callback.__name__ for command in base_models_app.registered_commands
    }
    assert bases.isdisjoint(cli._base_model_commands())


def test_the_keys_of_both_are_listed_once() -> None:
    shown = CliRunner().invoke(cli.app, ["key", "--help"]).output
    assert all(name in shown for name in ("create-operator", "rotate", "revoke"))
    listed = CliRunner().invoke(cli.app, ["--help"]).output
    assert len(re.findall(r"^\W+key ", listed, re.MULTILINE)) == 1


def test_without_the_service_installed_its_commands_are_unknown_and_the_others_work(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for package in ("client", "api_schemas"):
        (tmp_path / package).symlink_to(ROOT / package)
    program = "import sys; sys.meta_path = [f for f in sys.meta_path if '__editable__' not in "
    program += 'f\'{f} {getattr(f, "__module__", "")}\']; from client.cli import main; main()'

    def alone(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True
        )

    assert alone("up").returncode == 2
    listed = alone("group", "list", "--json")
    assert listed.returncode == 0, listed.stderr
