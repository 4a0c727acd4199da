"""What code deep inside a task may use of the task's context: artifacts and endpoints.

A reward model scores texts and knows of no context. One that asks a language model finds here what
it needs: whoever runs a task grants it around the task, for the thread that runs it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from api_schemas.errors import LanguageModelFailed
from api_schemas.language_models import EndpointAccess
from workers.artifacts import ArtifactStore


@dataclass(frozen=True)
class Access:
    """`sealed`: nothing of what is asked and replied may be kept or logged."""

    artifacts: ArtifactStore
    endpoints: tuple[EndpointAccess, ...] = ()
    sealed: bool = False


_granted: ContextVar[Access | None] = ContextVar("language_model_access", default=None)


@contextmanager
def granted(artifacts: ArtifactStore, endpoints: Sequence[EndpointAccess] = ()) -> Iterator[None]:
    """`current` gives these, in this thread, until the block is left."""
    token = _granted.set(Access(artifacts, tuple(endpoints)))
    try:
        yield
    finally:
        _granted.reset(token)


@contextmanager
def sealed() -> Iterator[None]:
    """What was granted, without leave to keep or log anything of it; nothing where nothing was."""
    found = _granted.get()
    token = _granted.set(found and replace(found, sealed=True))
    try:
        yield
    finally:
        _granted.reset(token)


def current() -> Access:
    """Raises LanguageModelFailed (`no_access`) where nothing was granted."""
    found = _granted.get()
    if found is None:
        raise LanguageModelFailed(
            "a judge scores in the service's own tasks alone, where its replies are recorded and "
            "endpoints are at hand",
            code="no_access",
        )
    return found
