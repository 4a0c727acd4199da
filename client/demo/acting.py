"""What the demos share: a service while they run, steps that are timed, and how they end."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from api_schemas.errors import TruthtuneError
from client.client import Truthtune
from client.demo.service_process import DemoService

_LOG_WIDTH = 100
"""Characters of a line where there is no terminal to ask."""


class DemoFailed(TruthtuneError):
    """A step of the demo did not hold."""

    code = "demo_failed"


def acted(home: Path, act: Callable[[DemoService, Console, ExitStack], None]) -> None:
    """Act with a service whose state is in `home`; what it enters on the stack ends with it. Ends
    the process with 1, and where to look, unless every step held."""
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    began = time.monotonic()
    service = DemoService(home)
    try:
        with ExitStack() as stack:
            act(service, console, stack)
    except (TruthtuneError, KeyboardInterrupt) as error:
        console.print("the demo failed:", str(error) or "interrupted", style="red", markup=False)
        console.print(f"the service's log is {service.log}", highlight=False)
        sys.exit(1)
    console.print(f"[bold green]every step held[/], {time.monotonic() - began:.0f} s in all")


@dataclass(frozen=True)
class Started:
    """A service that runs, and what acts on it."""

    operator: Truthtune
    operator_key: str
    base_model_folder: Path


def started(service: DemoService, base_model: str, console: Console, stack: ExitStack) -> Started:
    """The first step of every demo: a base model, a database, a key, and the service."""
    with step(console, "the service starts"):
        folder = Path(service.run("base-model", "prepare", base_model).splitlines()[-1])
        service.run("db", "upgrade")
        operator_key = service.run("key", "create-operator", "--name", "demo")
        stack.enter_context(service)
        console.print(f"{service.url}/docs")
    operator = stack.enter_context(Truthtune(service.url, operator_key))
    return Started(operator, operator_key, folder)


def new_home(name: str) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path(".truthtune").resolve() / f"{name}-{moment}-{os.getpid()}"


@contextmanager
def step(console: Console, title: str) -> Iterator[None]:
    """Shows a title, and how long the block took if it came to its end."""
    console.rule(f"[bold]{title}", align="left")
    started = time.monotonic()
    yield
    console.print(f"[dim]{time.monotonic() - started:.1f} s")
