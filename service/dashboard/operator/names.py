"""What groups and worlds are called on a page."""

from collections.abc import Mapping

from api_schemas.base import ListPage
from api_schemas.groups import Group
from service.dashboard.api import Api

_PAGES = 20
"""Of 100 groups each; beyond them a page shows a group's id, which is as good."""

_WITHOUT = "without:"


async def group_names(api: Api) -> dict[str, str]:
    """By id; of the newest 2,000."""
    names: dict[str, str] = {}
    after = None
    for _ in range(_PAGES):
        found = await api.get(ListPage[Group], "/v1/groups", after=after, limit=100)
        names |= {group.id: group.name for group in found.data}
        if not found.has_more:
            break
        after = found.last_id
    return names


def world_name(world: str, names: Mapping[str, str]) -> str:
    """`grand` → `all groups`, `without:grp_…` → `without teachers`."""
    if world == "grand":
        return "all groups"
    if not world.startswith(_WITHOUT):
        return world
    group_id = world.removeprefix(_WITHOUT)
    return f"without {names.get(group_id, group_id)}"
