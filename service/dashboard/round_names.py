"""The names of rounds, for lists of what has a round's id alone."""

from collections.abc import Collection

from api_schemas.base import ListPage
from api_schemas.rounds import Round
from service.dashboard.api import Api

_NEWEST = 50


async def round_names(api: Api, round_ids: Collection[str]) -> dict[str, str]:
    """By id. Most of what is listed is of the newest rounds, which one request brings; each of the
    others takes one of its own."""
    if not round_ids:
        return {}
    newest = await api.get(ListPage[Round], "/v1/rounds", limit=_NEWEST)
    found = {round_.id: round_.announcement.name for round_ in newest.data}
    for round_id in set(round_ids) - set(found):
        round_ = await api.get(Round, f"/v1/rounds/{round_id}")
        found[round_id] = round_.announcement.name
    return found
