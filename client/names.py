"""Names that people know in the place of groups' ids."""

from collections.abc import Mapping


def named(text: str, names: Mapping[str, str]) -> str:
    """The text with group ids replaced by the names that people know."""
    for group_id, name in names.items():
        text = text.replace(group_id, name)
    return text


def world_name(world: str, names: Mapping[str, str]) -> str:
    """`without:grp_…` as `without teachers`."""
    kind, _, group_id = world.partition(":")
    return f"{kind} {names.get(group_id, group_id)}".strip()
