"""An outcome as tables: the operator's and a group's, and one whose welfare is hidden."""

import pytest
from rich.console import Console, RenderableType

from api_schemas import examples
from api_schemas.outcomes import Outcome, RewardAgreement
from api_schemas.rounds import L2Regularizer
from client.outcome_tables import (
    agreement_table,
    group_table,
    summary_lines,
    world_outcome_table,
)

SHOWN = Outcome.model_validate(examples.OUTCOME)
(LINE,) = SHOWN.groups
HIDDEN = SHOWN.model_copy(update={"worlds": [], "delivered": None, "fresh": None, "holdout": None})


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


def test_a_surcharge_has_a_column_only_where_there_is_one() -> None:
    assert "surcharge" not in printed(group_table(SHOWN, {}))
    line = LINE.model_copy(update={"surcharge": 0.125})
    table = printed(group_table(SHOWN.model_copy(update={"groups": [line]}), {}))
    heading, row = table.splitlines()[2], table.splitlines()[-2]
    assert heading.split()[-4:] == ["payment", "surcharge", "utility", "amount"]
    assert row.split()[-5:] == ["0.3750", "0.1250", "4.4375", "0.375000", "EUR"]


def test_the_divergence_is_called_by_the_announced_regulariser() -> None:
    l2 = SHOWN.model_copy(update={"regularizer": L2Regularizer(coefficient=1.0)})
    for outcome, name, other in ((SHOWN, "KL", "L2"), (l2, "L2", "KL")):
        heading = printed(world_outcome_table(outcome, {})).splitlines()[2].split()
        assert name in heading
        assert other not in heading
        text = " ".join(summary_lines(outcome, {}))
        assert f"at {name} 0.906" in text
        assert f"at {name} 0.844" in text


def test_the_figures_behind_the_certificate_and_the_held_out_pool_are_told() -> None:
    lines = summary_lines(SHOWN, {})
    assert SHOWN.certificate.figures in lines
    assert any("0.625 below the optimum there" in line for line in lines)
    assert not any("estimate" in line for line in lines)
    estimate = SHOWN.certificate.model_copy(update={"estimate": True})
    lines = summary_lines(SHOWN.model_copy(update={"certificate": estimate}), {})
    assert any("by an estimate" in line for line in lines)


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ("grand@12", "step 12"),
        (f"without:{LINE.group_id}@8", "without teachers, step 8"),
        ("initial", "π₀"),
        ("pool_optimum", "optimum"),
        ("soup(0.25,0.75,0)", "soup(0.25,0.75,0)"),
        (f"soup:1/4*{LINE.group_id}", "soup:1/4*teachers"),
        ("soup", "soup"),
        ("mix", "mix"),
        ("a name of a newer service@last", "a name of a newer service@last"),
    ],
)
def test_a_chosen_model_is_shown_by_whatever_name_it_has(chosen: str, shown: str) -> None:
    (world,) = SHOWN.worlds
    worlds = [world.model_copy(update={"chosen": chosen})]
    outcome = SHOWN.model_copy(update={"worlds": worlds, "delivered": None})
    row = printed(world_outcome_table(outcome, {LINE.group_id: "teachers"})).splitlines()[-2]
    assert f"grand {shown} 8.5000" in " ".join(row.split())


def test_the_agreement_of_reward_models_is_shown_to_whoever_is_told() -> None:
    ids = [LINE.group_id, "grp_" + "b" * 26]
    found = RewardAgreement(group_ids=ids, spearman=[[1.0, -0.254], [-0.254, None]])
    told = SHOWN.model_copy(update={"reward_agreement": found})
    table = agreement_table(told, dict(zip(ids, ("teachers", "pupils"), strict=True)))
    assert table is not None
    lines = [line.split() for line in printed(table).splitlines()]
    for expected in (
        ["group", "teachers", "pupils"],
        ["teachers", "+1.00", "-0.25"],
        ["pupils", "-0.25", "-"],
    ):
        assert expected in lines
    assert agreement_table(SHOWN, {}) is None
