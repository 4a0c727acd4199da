"""What every request may ask for: the application's state and one database transaction."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.database import Database
from service.rate_limits import RateLimits
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


def _state(request: Request) -> AppState:
    state: AppState = request.app.state.truthtune
    return state


State = Annotated[AppState, Depends(_state)]


def _read_session(state: State) -> Iterator[Session]:
    with state.database.read() as session:
        yield session


def _write_session(state: State) -> Iterator[Session]:
    with state.database.write() as session:
        yield session


# Scope "function": the default would commit after the response has been sent, and a client could
# be told of a success that the database then refuses.
ReadSession = Annotated[Session, Depends(_read_session, scope="function", max_concurrency=_READERS)]
"""A transaction for queries. Whatever is slow belongs before it: name it later in the signature."""

WriteSession = Annotated[
    Session, Depends(_write_session, scope="function", max_concurrency=_WRITERS)
]
"""The request's one transaction, committed here, before the response is sent."""
