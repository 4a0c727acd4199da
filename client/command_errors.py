"""What went wrong with a command, as one line and an exit status."""

import os
import sys

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from api_schemas.errors import TruthtuneError

INTERRUPTED = 130
"""As a shell reports a process that SIGINT ended."""
DEBUG = "--debug"


def explained(error: BaseException) -> tuple[str, int]:
    """The line, without the program's name, and the status. It never holds a line break."""
    message, status = _explained(error)
    return " ".join(message.split()), status


def wants_traceback() -> bool:
    return DEBUG in sys.argv[1:]


def sentence(detail: object) -> str:
    """One problem of a ValidationError: field, reason and value."""
    found: dict[str, object] = dict(detail)  # type: ignore[call-overload]
    where = ".".join(map(str, found["loc"])) or "the whole"  # type: ignore[call-overload]
    message = f"{where}: {str(found['msg']).removeprefix('Value error, ')}"
    value = found["input"]
    return f"{message}, not {value!r}" if isinstance(value, str | int | float) else message


def _explained(error: BaseException) -> tuple[str, int]:
    if isinstance(error, TruthtuneError):
        named = error.param is None or error.param in error.message
        return error.message if named else f"{error.param}: {error.message}", 1
    if isinstance(error, TyperException):
        return _usage(error), error.exit_code
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, ModuleNotFoundError):
        package = "pip install 'truthtune[service,workers]'"
        return f"this command needs the package {error.name!r}: {package}", 1
    if isinstance(error, ValidationError):
        return "; ".join(map(sentence, error.errors())), 1
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fspath(error.filename)!s}: " if error.filename is not None else ""
        return f"{where}{error.strerror}", 1
    told = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"failed unexpectedly: {told} (give {DEBUG} before the command for more)", 1


def _usage(error: TyperException) -> str:
    """What was typed wrongly, and where the right way is told."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "truthtune"
    message = error.format_message()  # none where the help itself was shown instead
    return message and f"{message} (see {command} --help)"
