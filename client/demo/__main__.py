"""`python -m client.demo`: run a service and one round, as the operator and three groups would."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.demo import scenario
from client.demo.acting import acted, new_home, started, step
from client.demo.scenario import Member
from client.demo.service_process import DemoService
from client.demo.settings import demo_round


def demo(
    base_model: Annotated[
        str, typer.Option(help="`tiny-enumerable` is done in a minute.")
    ] = "smollm2-135m-instruct",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the service until Ctrl-C, and print its keys.")
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(help="A new folder for the run's state; default: one in .truthtune."),
    ] = None,
) -> None:
    """Run the whole business once on a real model; exits with 0 only if every step held."""
    acted(home or new_home("demo"), partial(_run, base_model, keep))


def _run(
    base_model: str, keep: bool, service: DemoService, console: Console, stack: ExitStack
) -> None:
    setup = demo_round(base_model)
    start = started(service, base_model, console, stack)
    operator = start.operator
    with step(console, "the operator registers three groups and opens a round"):
        members = scenario.register_groups(operator, service.url, setup, stack)
        round_ = scenario.open_round(operator, base_model, setup)
        console.print(f"{round_.id}, announcement {round_.announcement_digest}", highlight=False)
    with step(console, "the groups report"):
        for member in members:
            console.print(scenario.report(member, round_.id, setup), highlight=False)
    with step(console, "the round closes, the job runs"):
        names = {member.group_id: member.setup.name for member in members}
        scenario.run_job(operator, round_.id, console, names)
    with step(console, "what it found"):
        round_ = scenario.show_results(operator, members, round_.id, setup, console)
    with step(console, "a receipt, checked offline; the ledger, walked from end to end"):
        told = scenario.verify_receipt(members[0], round_, service.home / "receipt")
        console.print(told, highlight=False, markup=False)
        console.print(service.run("ledger", "verify").rstrip(), highlight=False, markup=False)
    with step(console, "the adapter, in plain transformers and peft"):
        target = service.home / "adapter"
        told = scenario.compare(members[0], round_, start.base_model_folder, target, setup)
        console.print(told, markup=False)
    if keep:
        _keep(service, start.operator_key, members, console)


def _keep(service: DemoService, operator_key: str, members: list[Member], console: Console) -> None:
    console.rule("[bold]the service keeps running until Ctrl-C", align="left")
    console.print(f"export TRUTHTUNE_URL={service.url}", highlight=False)
    console.print(f"export TRUTHTUNE_API_KEY={operator_key}  # operator", highlight=False)
    for member in members:
        line = f"export TRUTHTUNE_API_KEY={member.secret}  # {member.setup.name}"
        console.print(line, highlight=False)
    try:
        service.wait()
    except KeyboardInterrupt:
        console.print("stopping")


if __name__ == "__main__":
    typer.run(demo)
