"""The Tab key: commands, options, and what the service has; silence when anything is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from client_support import Answer, RunningService, Script
from typer.testing import CliRunner

from client import Truthtune, cli

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(service: RunningService) -> Complete:
    """What bash is offered for the words typed so far, the last of which may be empty."""

    def complete(*words: str, url: str = service.url, key: str = service.operator_key) -> list[str]:
        environment = {
            "_TRUTHTUNE_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("truthtune", *words)),
            "COMP_CWORD": str(len(words)),
            "TRUTHTUNE_URL": url,
            "TRUTHTUNE_API_KEY": key,
        }
        done = CliRunner().invoke(cli.app, [], env=environment, prog_name="truthtune")
        said = [line for line in done.stderr.splitlines() if not line.startswith('{"')]
        assert said == [], "a message would end up in the line that is being typed"
        return [line for line in done.stdout.splitlines() if line]

    return complete


def test_commands_of_all_rooms_and_their_options_are_offered(complete: Complete) -> None:
    assert complete("ro") == ["round"]
    assert set(complete("d")) == {"doctor", "db"}
    assert "--json" in complete("round", "list", "--")


def test_what_the_service_has_is_offered_by_its_id(
    complete: Complete, operator: Truthtune, tmp_path: Path
) -> None:
    made = [operator.groups.create(f"{tmp_path.name} {number}") for number in (1, 2)]
    offered = complete("group", "create-key", "")
    assert {each.id for each in made} <= set(offered)
    assert complete("group", "create-key", made[0].id[:-1]) == [made[0].id]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "red sun"}\n')
    file_id = operator.files.upload(prompts, "prompts").id
    assert file_id in complete("file", "show", "file_")


def test_groups_are_offered_by_name_too(complete: Complete, operator: Truthtune) -> None:
    made = operator.groups.create("the-gardeners")
    assert complete("audit", "rnd_x", "--group", "the-gard") == ["the-gardeners"]
    assert complete("audit", "rnd_x", "--group", made.id) == [made.id]


@pytest.mark.parametrize("key", ["", "tt_op_wrong", "two words"])
def test_without_a_key_that_works_nothing_is_offered(complete: Complete, key: str) -> None:
    assert complete("round", "show", "", key=key) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
def test_where_there_is_no_service_nothing_is_offered(complete: Complete, url: str) -> None:
    assert complete("round", "show", "", url=url) == []


def test_a_service_that_fails_is_asked_once(complete: Complete, script: Script) -> None:
    script.answers = [Answer(503), Answer(503)]
    assert complete("round", "show", "", url=script.url) == []
    assert len(script.asked) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_asks_this_command(
    shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"_TRUTHTUNE_COMPLETE": f"source_{shell}"}
    done = CliRunner().invoke(cli.app, [], env=environment, prog_name="truthtune")
    assert f"_TRUTHTUNE_COMPLETE=complete_{shell}" in done.stdout
