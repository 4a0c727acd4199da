"""Whoever has no mouse gets everywhere, and isn't thrown out of what is loaded again."""

from collections.abc import Callable

import pytest
from browsing import Tab
from operator_scenes import draft_round, run_round, tell_steps
from playwright.sync_api import expect
from site_scenes import Site

OpenTab = Callable[..., Tab]
_MANY = 60
"""Presses of Tab: more than any of these pages has places."""


@pytest.mark.timeout(120)
def test_tab_enter_and_space_are_enough(site: Site, tab: OpenTab) -> None:
    groups = [site.new_group(name)[0] for name in ("teachers", "hosts", "engineers")]
    draft_id = draft_round(site, name="Winter")
    held = run_round(site, groups)
    opened = tab()
    page, press = opened.page, opened.page.keyboard.press

    opened.go(f"/dashboard/rounds/{draft_id}")
    assert _focused(opened) == "API key"
    page.keyboard.type(site.operator_key)
    press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Winter draft")
    press("Tab")
    assert _focused(opened) == "Skip to the content"
    press("Enter")
    press("Tab")
    assert page.locator("main :focus").count() == 1
    _tab_to(opened, "Open the round")
    press("Space")
    _tab_to(opened, "Open it now")
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Winter open")
    _tab_to(opened, "Every value, as it is digested")
    press("Enter")
    expect(page.get_by_role("rowheader", name="payment_rule")).to_be_visible()

    opened.go(f"/dashboard/jobs/{held.job_id}")
    tell_steps(site, held, *range(4, 13))
    expect(page.locator("#log tbody tr")).to_have_count(27, timeout=15_000)
    drawn = "Affine social welfare by step, on samples of the training"
    _tab_to(opened, f"{drawn}: as a table")
    press("Enter")
    press("Tab")
    assert _focused(opened) == f"{drawn}: table"
    _wait_for_a_poll(opened)
    assert _focused(opened) == f"{drawn}: table"

    log = page.locator("#log")
    _tab_to(opened, "Log, newest first")
    press("End")
    end = log.evaluate("log => log.scrollHeight - log.clientHeight")
    assert end > 100
    expect(log).to_have_js_property("scrollTop", end)
    _wait_for_a_poll(opened)
    assert _focused(opened) == "Log, newest first"
    expect(log).to_have_js_property("scrollTop", end)


def _wait_for_a_poll(opened: Tab) -> None:
    """Until what is polled was there anew."""
    before = opened.page.locator("#log tbody").element_handle()
    opened.page.wait_for_function("body => !body.isConnected", arg=before)


def _tab_to(opened: Tab, name: str) -> None:
    for _ in range(_MANY):
        opened.page.keyboard.press("Tab")
        if _focused(opened) == name:
            return
    raise AssertionError(f"Tab does not lead to {name!r}, but to {_focused(opened)!r}")


def _focused(opened: Tab) -> str:
    """By what it is called: its label, or what it says."""
    return str(
        opened.page.evaluate(
            "(({ariaLabel, labels, innerText}) => ariaLabel ?? labels?.[0]?.innerText ?? innerText)"
            "(document.activeElement)"
        )
    ).strip()
