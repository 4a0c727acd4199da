"""What every request may ask for: the application's state and one database transaction."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.database import Database
from service.rate_limits import RateLimits
from service.routing import run_endpoint_within
from service.settings import Settings
from service.vault import Vault
from workers.artifacts import ArtifactStore

# A request waits for its turn without a thread, and takes a connection only once it has one.
# Were those who may hold a connection more than the pool of an engine has (15), or those who write
# as many as threads (40), the rest would wait for them with a thread in hand.
_READERS, _WRITERS, _REPORTERS = 10, 4, 10


@dataclass(frozen=True)
class AppState:
    """Made when the application starts, closed when it stops; `app.state.truthtune`."""

    settings: Settings
    database: Database
    artifacts: ArtifactStore
    key_secret: bytes = field(repr=False)
    vault: Vault = field(repr=False)
    rate_limits: RateLimits
    readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_READERS))
    writers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_WRITERS))
    reporters: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_REPORTERS))


async def _state(request: Request) -> AppState:  # a plain function would be sent to a thread
    state: AppState = request.app.state.truthtune
    return state


State = Annotated[AppState, Depends(_state)]


async def _read_session(request: Request) -> Session:
    state: AppState = request.app.state.truthtune  # what depends on more is asked for more
    session = state.database.unbegun_look()  # neither begins nor ends with a word to the database
    run_endpoint_within(state.database.looking(session), state.readers)
    return session


async def _write_session(request: Request) -> Session:
    state: AppState = request.app.state.truthtune
    session = state.database.unbegun()
    run_endpoint_within(state.database.begun(session), state.writers)
    return session


ReadSession = Annotated[Session, Depends(_read_session)]
"""For queries of the endpoint, each by itself."""

WriteSession = Annotated[Session, Depends(_write_session)]
"""The request's one transaction: it begins when the endpoint does and is committed when that
returns, in the endpoint's thread, so that on SQLite nobody waits for a writer that waits for a
thread. A dependency may hold either session, and not use it."""


async def take_turn_to_report(request: Request) -> None:
    """For an endpoint that prepares for long what it then writes in a transaction of its own."""
    state: AppState = request.app.state.truthtune
    run_endpoint_within(nullcontext(), state.reporters)
