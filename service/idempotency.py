"""`Idempotency-Key`: a POST that is sent twice makes one thing and is answered twice."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas.errors import InvalidInput
from service.auth import CurrentPrincipal, Principal
from service.dependencies import WriteSession
from service.tables import IdempotencyRow
from workers.artifacts import canonical_json, sha256_of

REPLAYED = "Idempotent-Replayed"

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class IdempotentPost:
    """Runs a POST's work at most once for each key of a principal.

    The answer is recorded in the transaction of the work, so there is never one without the other.
    A POST that failed has recorded nothing: the key may be used again.
    """

    session: Session
    principal: Principal
    key: str | None
    route: str
    response: Response

    def run(self, request: Any, kind: type[Body], work: Callable[[], Body]) -> Body:
        """The answer of `work`, or the one recorded for the same key and `request` (JSON).

        Raises InvalidInput if the key came with another request before.
        """
        if self.key is None:
            return work()
        digest = sha256_of(canonical_json({"route": self.route, "request": request}))
        claim = self._claim(self.key, digest)
        if claim is None:
            return kind.model_validate(self._recorded(self.key, digest))
        body = work()
        claim.body = body.model_dump(mode="json")
        return body

    def _claim(self, key: str, digest: str) -> IdempotencyRow | None:
        """Insert the key's row first: a duplicate on its way waits here for our commit."""
        row = IdempotencyRow(
            owner_id=self.principal.owner_id,
            key=key,
            request_digest=digest,
            body={},
            created_at=datetime.now(UTC),
        )
        try:
            with self.session.begin_nested():
                self.session.add(row)
        except IntegrityError:
            return None
        return row

    def _recorded(self, key: str, digest: str) -> dict[str, Any]:
        row = self.session.get_one(IdempotencyRow, (self.principal.owner_id, key))
        if row.request_digest != digest:
            raise InvalidInput(
                f"Idempotency-Key {key!r} came with another request before; take a new key",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        self.response.headers[REPLAYED] = "true"
        return row.body


async def _idempotent_post(
    request: Request,
    response: Response,
    principal: CurrentPrincipal,
    session: WriteSession,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Sent again with the same request, it gives the first answer again; with "
            "another request it is refused.",
        ),
    ] = None,
) -> IdempotentPost:
    return IdempotentPost(session, principal, key, f"POST {request.url.path}", response)


Idempotent = Annotated[IdempotentPost, Depends(_idempotent_post, scope="function")]
"""Its work is done in the request's write transaction."""
