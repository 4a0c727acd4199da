"""What every request may ask for: the application's state and one database transaction."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.database import Database
from service.rate_limits import RateLimits
from service.routing import around_endpoint
from service.settings import Settings
from service.vault import Vault
from workers.artifacts import ArtifactStore

# A request waits for its transaction without holding a thread, and holds a connection only once it
# has a turn. Were the sum of both above the connections of an engine's pool (15), or writers as
# many as threads (40), those waiting could starve the one that has to finish first.
_READERS, _WRITERS = 10, 4


@dataclass(frozen=True)
class AppState:
    """Made when the application starts, closed when it stops; `app.state.truthtune`."""

    settings: Settings
    database: Database
    artifacts: ArtifactStore
    key_secret: bytes = field(repr=False)
    vault: Vault = field(repr=False)
    rate_limits: RateLimits


async def _state(request: Request) -> AppState:  # a plain function would be sent to a thread
    state: AppState = request.app.state.truthtune
    return state


State = Annotated[AppState, Depends(_state)]


async def _read_session(request: Request) -> AsyncIterator[Session]:
    state: AppState = request.app.state.truthtune  # what depends on more is asked for more
    with state.database.look() as session:  # neither begins nor ends with a word to the database
        yield session


async def _write_session(request: Request) -> AsyncIterator[Session]:
    state: AppState = request.app.state.truthtune
    session = state.database.unbegun()
    with around_endpoint(state.database.begun(session)):
        yield session


# Scope "function": the default would hold its place until the response has been sent.
ReadSession = Annotated[Session, Depends(_read_session, scope="function", max_concurrency=_READERS)]
"""For queries, each by itself. Whatever is slow belongs before it: name it later in the
signature."""

WriteSession = Annotated[
    Session, Depends(_write_session, scope="function", max_concurrency=_WRITERS)
]
"""The request's one transaction: it begins when the endpoint does and is committed when that
returns, in the endpoint's thread, so that on SQLite nobody waits for a writer that waits for a
thread. A dependency may hold the session, and not use it."""
