"""Before the first round, each page says how things come to be on it, to everyone."""

from collections.abc import Callable

from browsing import Tab
from site_scenes import Site

OPERATORS = {
    "/rounds": "There is no round yet.",
    "/invoices": "There is no invoice yet",
    "/ledger": "Nothing was posted yet",
    "/models": "There is no model yet",
    "/initial-models": "There is no corpus yet",
    "/playground": "There is no tuned model yet.",
    "/audit-log?action=round.opened": "No entry is of that kind.",
}
GROUPS = {
    "/rounds": "No round has been opened yet.",
    "/receipts": "There is none yet.",
    "/reward-models": "There is none yet.",
    "/playground": "There is no tuned model yet.",
}


def test_an_empty_page_shuts_nobody_out(site: Site, tab: Callable[..., Tab]) -> None:
    """No other test is beside this one: what it set would fill the pages."""
    _, group_key = site.new_group("teachers")
    for key, pages in ((site.operator_key, OPERATORS), (group_key, GROUPS)):
        opened = tab(key)
        for path, said in pages.items():
            opened.go(f"/dashboard{path}")
            assert said in opened.page.get_by_role("main").inner_text(), path
            assert (path, opened.violations()) == (path, [])
