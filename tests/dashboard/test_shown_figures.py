"""A page names a figure only where it is told, and every drawing's figures are in tables."""

from typing import Any

import pytest
from group_scenes import receipt_of, settled
from site_scenes import Person, Site

from api_schemas import examples
from api_schemas.report_cards import ReportCard
from service.dashboard.group.report_card import card_tables

BOUND = "other report would have left you more than 0.000 above that"


@pytest.mark.parametrize(
    ("counterfactuals", "groups", "is_told"),
    [("checkpoints", 2, False), ("checkpoints", 3, True), ("retrain", 2, True)],
)
def test_a_receipt_names_the_bound_only_where_the_certificate_tells_it_to_the_group(
    site: Site, counterfactuals: str, groups: int, is_told: bool
) -> None:
    made = [site.new_group(f"{counterfactuals} {groups} {place}") for place in range(groups)]
    ids = [group_id for group_id, _ in made]
    round_id = settled(site, ids, [0.5] * groups, counterfactuals=counterfactuals)
    key = made[0][1]
    path = f"/receipts/{receipt_of(site, key, round_id)['id']}"
    page = Person(site, key).get(path).text
    assert (BOUND in page) == is_told
    assert ("is told to the operator alone" in page) == (not is_told)
    operators = Person(site, site.operator_key).get(path).text
    assert BOUND not in operators, "the group may not see it, and this is its page"


def _card(**changes: Any) -> ReportCard:
    return ReportCard.model_validate(examples.REWARD_MODEL["report_card"] | changes)


def _cells(card: ReportCard, caption: str) -> dict[str, list[Any]]:
    """The rows of the one table of that caption."""
    (table,) = [each for each in card_tables(card) if each.caption.startswith(caption)]
    assert {len(column["values"]) for column in table.series} == {len(table.rows)}
    columns = [column["values"] for column in table.series]
    return dict(zip(table.rows, map(list, zip(*columns, strict=True)), strict=True))


def test_the_panels_of_a_report_card_are_tables_too() -> None:
    card = _card()
    assert _cells(card, "Share of pairs") == {"held-out prompts": [0.75, 0.625, 0.875, 40, 18]}
    assert _cells(card, "Calibration") == {"1": [0.625, 0.65, 20], "2": [0.75, 0.85, 20]}
    assert _cells(card, "Raw scores") == {"-1.5 to 0": [12, 26], "0 to 1.5": [28, 14]}


def test_what_a_method_draws_of_its_own_is_a_table_too() -> None:
    errors = {"name": "members", "y": [0.5, 0.75], "standard_errors": [0.1, 0.2]}
    card = _card(
        figures=[{"name": "depth", "value": 2.0}],
        curves=[{"title": "By k", "x_label": "k", "y_label": "", "x": [1, 8], "series": [errors]}],
    )
    assert _cells(card, "By k") == {"1": [0.5, 0.1], "8": [0.75, 0.2]}
    assert _cells(card, "Of the method itself") == {"depth": [2.0, None]}


def test_without_data_there_is_no_table() -> None:
    assert list(card_tables(_card(accuracy=None, calibration=None, scores=None))) == []
