"""Routes of the signing keys. They stand before those of API keys, whose ids share their place."""

from api_schemas.base import ListPage
from api_schemas.signing import SigningKey
from service import audit, signing
from service.auth import Operator
from service.dependencies import ReadSession, State
from service.idempotency import Idempotent
from service.pages import Page
from service.routing import Router

router = Router(prefix="/keys/signing", tags=["keys"])


@router.get("", summary="List the signing keys")
def list_signing_keys(session: ReadSession, page: Page) -> ListPage[SigningKey]:
    """The public keys that receipts and the ledger's heads are signed with, newest first, retired
    ones too. Anyone may read them; keep a copy, so that nobody can exchange them later."""
    return signing.list_signing_keys(session, page)


@router.post("/rotate", status_code=201, summary="Make a new signing key")
def rotate_signing_key(principal: Operator, idempotent: Idempotent, state: State) -> SigningKey:
    """Retires the current signing key and makes the one that signs from now on. What the retired
    ones signed stays valid, and they stay in the list. Operator only."""
    session = idempotent.session

    def work() -> SigningKey:
        made = signing.rotate(session, state.vault)
        audit.record(session, principal, "signing_key.rotated", made.id)
        return made

    return idempotent.run(None, SigningKey, work)
