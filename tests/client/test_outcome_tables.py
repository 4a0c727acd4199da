"""An outcome as tables: the operator's and a group's, and one whose welfare is hidden."""

from rich.console import Console, RenderableType

from api_schemas import examples
from api_schemas.outcomes import Outcome
from client.outcome_tables import group_table, summary_lines, world_outcome_table

SHOWN = Outcome.model_validate(examples.OUTCOME)
HIDDEN = SHOWN.model_copy(update={"worlds": [], "delivered": None, "fresh": None})


def printed(table: RenderableType) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_worlds_and_the_delivered_adapter_are_shown_with_their_figures() -> None:
    table = printed(world_outcome_table(SHOWN, {}))
    for row in ("grand", "delivered"):
        (line,) = [line for line in table.splitlines() if line.split()[:1] == [row]]
        cells = line.removeprefix(f" {row} ").split()
        assert " ".join(cells) == "step 12 8.5000 10.6875 11.1875 0.5000 0.8750 14.5 6.2"
    assert any("a gain of 2.188" in line for line in summary_lines(SHOWN, {}))


def test_an_outcome_whose_welfare_is_hidden_still_shows_the_groups_line() -> None:
    assert "delivered" not in printed(world_outcome_table(HIDDEN, {}))
    assert not any("ASW" in line for line in summary_lines(HIDDEN, {}))
    (group,) = SHOWN.groups
    line = printed(group_table(HIDDEN, {group.group_id: "teachers"})).splitlines()[-2]
    assert " ".join(line.split()) == "teachers 7 0.4375 0.6875 0.3750 4.4375 0.375000 EUR"
