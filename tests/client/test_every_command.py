"""What holds for every command there is, now and later, by walking the tree of them."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from client import cli

# They serve until they are stopped, and print a log.
SERVING = {"serve", "coordinator", "inference", "up"}
# They print JSON whatever is asked.
JSON_ALONE = {"solve", "audit-game"}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(cli.app)))


def test_the_walk_finds_the_commands_of_all_rooms() -> None:
    assert {"round list", "receipt verify", "key create-operator", "doctor", "solve"} <= set(
        COMMANDS
    )
    assert len(COMMANDS) > 60
    assert set(COMMANDS) >= SERVING | JSON_ALONE


def test_a_command_that_prints_prints_json_too() -> None:
    without = {
        name
        for name, command in COMMANDS.items()
        if "--json" not in [option for each in command.params for option in each.opts]
    }
    assert without == SERVING | JSON_ALONE


def test_a_command_says_what_it_does() -> None:
    assert [name for name, command in COMMANDS.items() if not (command.help or "").strip()] == []


def test_an_argument_that_is_an_id_is_completed() -> None:
    without = {
        f"{name} {each.name}"
        for name, command in COMMANDS.items()
        for each in command.params
        if each.param_type_name == "argument"
        and each.name.endswith("_id")
        and each._custom_shell_complete is None
    }
    assert without == {"webhook replay message_id"}, "messages are listed by endpoint alone"


def test_help_puts_every_command_into_a_group_of_its_kind() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    for panel in ("Rounds", "Money", "Access and events", "Run the service", "Without a service"):
        assert f"─ {panel} ─" in shown
    assert "─ Commands ─" not in shown
    assert "truthtune round list" in shown


def test_the_version_is_that_of_the_package() -> None:
    shown = CliRunner().invoke(cli.app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, "truthtune 0.1.0\n")
