"""The ledger: balances, the chain's head, and every posting."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_schemas.base import ListPage
from api_schemas.books import Ledger, Posting
from service.dashboard.api import SessionApi
from service.dashboard.operator.names import group_names
from service.dashboard.pages import render
from service.dashboard.sessions import PATH, SignedIn

router = APIRouter()
_RECEIVABLE = "receivable:"


@router.get(f"{PATH}/ledger")
async def show_ledger(
    request: Request,
    session: SignedIn,
    api: SessionApi,
    account: str | None = None,
    after: str | None = None,
) -> Response:
    books = await api.get(Ledger, "/v1/ledger")
    postings = await api.get(
        ListPage[Posting], "/v1/ledger/postings", account=account or None, after=after, limit=50
    )
    names = await group_names(api)
    return render(
        request,
        "operator/ledger.html",
        session,
        books=books,
        postings=postings,
        account=account or "",
        called={line.account: _called(line.account, names) for line in books.balances},
    )


def _called(account: str, names: dict[str, str]) -> str:
    if not account.startswith(_RECEIVABLE):
        return account
    group_id = account.removeprefix(_RECEIVABLE)
    return f"{_RECEIVABLE}{names.get(group_id, group_id)}"
