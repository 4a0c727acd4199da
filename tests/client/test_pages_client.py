"""Lists, item by item or page by page, and only as far as they are read."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from client_support import Answer, Script

from api_schemas import examples
from client import AsyncTruthtune, Truthtune

IDS = [f"grp_{number:026}" for number in range(5)]


def page(*ids: str, more: bool = True) -> Answer:
    groups = [examples.GROUP | {"id": group_id} for group_id in ids]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    body = {"object": "list", "data": groups, "has_more": more} | ends
    return Answer(200, json.dumps(body).encode())


def queries(script: Script) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(asked.path).query) for asked in script.asked]


@pytest.fixture
def three_pages(script: Script) -> Script:
    script.answers = [page(*IDS[:2]), page(*IDS[2:4]), page(IDS[4], more=False)]
    return script


def test_all_items_come_over_as_many_pages_as_there_are(
    three_pages: Script, scripted: Truthtune
) -> None:
    assert [group.id for group in scripted.groups.list()] == IDS
    assert queries(three_pages) == [
        {"limit": ["100"]},
        {"limit": ["100"], "after": [IDS[1]]},
        {"limit": ["100"], "after": [IDS[3]]},
    ]


def test_a_page_is_asked_for_only_when_the_one_before_is_read(
    three_pages: Script, scripted: Truthtune
) -> None:
    groups = iter(scripted.groups.list())
    assert three_pages.asked == []
    assert [next(groups).id, next(groups).id] == IDS[:2]
    assert len(three_pages.asked) == 1
    assert next(groups).id == IDS[2]
    assert len(three_pages.asked) == 2


def test_pages_come_whole_one_after_the_other(three_pages: Script, scripted: Truthtune) -> None:
    pages = scripted.groups.list().pages()
    assert [group.id for group in next(pages).data] == IDS[:2]
    assert len(three_pages.asked) == 1
    assert [[group.id for group in page.data] for page in pages] == [IDS[2:4], IDS[4:]]


def test_one_page_is_asked_for_by_what_is_before_it_with_the_lists_own_filters(
    script: Script, scripted: Truthtune
) -> None:
    entries = json.dumps(
        {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    )
    script.answers = [Answer(200, entries.encode())]
    found = scripted.audit_log.list(action="round.opened").page(after="evt_x", limit=7)
    assert (found.data, found.has_more) == ([], False)
    assert queries(script) == [{"action": ["round.opened"], "limit": ["7"], "after": ["evt_x"]}]


def test_the_asynchronous_list_is_read_in_the_same_three_ways(three_pages: Script) -> None:
    async def main() -> None:
        async with AsyncTruthtune(three_pages.url, "tt_op_test") as client:
            listing = client.groups.list()
            assert [group.id async for group in listing] == IDS
            three_pages.answers = [page(*IDS[:2]), page(*IDS[2:], more=False)]
            assert [len(each.data) async for each in listing.pages()] == [2, 3]
            three_pages.answers = [page(*IDS[3:], more=False)]
            last = await listing.page(after=IDS[2], limit=2)
            assert [group.id for group in last.data] == IDS[3:]

    asyncio.run(main())
