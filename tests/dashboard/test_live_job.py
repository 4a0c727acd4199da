"""A job with more events than a page reads, and what of a live page is read aloud."""

from collections.abc import Callable

import pytest
from browsing import Tab
from operator_scenes import run_round, tell_steps
from playwright.sync_api import expect
from scenes import DIGEST
from site_scenes import Person, Site

from service.dashboard.operator import jobs
from service.jobs import leases
from service.jobs.leases import Claim

OpenTab = Callable[..., Tab]


@pytest.fixture(scope="module")
def group_ids(site: Site) -> list[str]:
    return [site.new_group(name)[0] for name in ("teachers", "hosts", "engineers")]


@pytest.fixture
def held(site: Site, group_ids: list[str]) -> Claim:
    """A job with nine events, of three steps of its training."""
    return run_round(site, group_ids)


def test_of_many_events_the_newest_are_shown_and_the_page_says_so(
    site: Site, held: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 of 309 are read: 50 steps, the last of them step 153."""
    monkeypatch.setattr(jobs, "_READ_LIVE", 100)
    monkeypatch.setattr(jobs, "_LOGGED", 50)
    tell_steps(site, held, *range(4, 154))
    page = Person(site, site.operator_key).get(f"/jobs/{held.job_id}").text
    assert "the latest 100 of 309 events" in " ".join(page.split())
    assert "The latest 50; 259 earlier events" in page
    steps = [step for step in range(1, 154) if f'<th scope="row">{step}</th>' in page]
    assert steps == list(range(104, 154))
    assert "train: 153 of 12 steps" in page


def test_a_page_that_reads_all_says_nothing_of_a_limit(site: Site, held: Claim) -> None:
    page = Person(site, site.operator_key).get(f"/jobs/{held.job_id}").text
    assert "Drawn from the latest" not in page


def test_only_a_new_stage_is_read_aloud(site: Site, held: Claim, tab: OpenTab) -> None:
    """What is loaded again every two seconds stands in no live region."""
    opened = tab(site.operator_key)
    opened.go(f"/dashboard/jobs/{held.job_id}")
    said = opened.page.get_by_role("status")
    polled = opened.page.locator("[hx-get]")
    expect(polled).to_have_count(1)
    assert polled.locator("[aria-live], [role=status], [role=alert]").count() == 0
    tell_steps(site, held, 4)
    expect(opened.page.locator("#log").get_by_text("step 4 of 12")).to_have_count(2, timeout=15_000)
    expect(said).to_have_text("")
    with site.state.database.write() as session:
        leases.finish_stage(session, held, "train", DIGEST)
        leases.start_stage(session, held, "value")
    expect(said).to_have_text("Running: value", timeout=15_000)
