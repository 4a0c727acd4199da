"""The operator runs a round from the browser alone, from sign-in to the paid invoice's receipt."""

import re
from collections.abc import Callable

import pytest
from browsing import Tab
from operator_scenes import tell_steps, tell_training
from playwright.sync_api import expect
from preview_scenes import publish_next
from scenes import claim, settle_next
from site_scenes import Site
from support import report_body

from service.jobs import leases

OpenTab = Callable[..., Tab]
PROMPTS = b'{"prompt": "red sun"}\n{"prompt": "green rain"}\n'


@pytest.mark.timeout(300)
def test_the_operator_goes_from_sign_in_to_a_receipt(site: Site, tab: OpenTab) -> None:
    opened = tab(site.operator_key)
    secrets = [_register(opened, name) for name in ("gardeners", "pupils", "parents")]
    round_id = _announce(opened)
    _ask_for_a_quote(opened, site)
    _confirm(opened, "Open the round", "Open it now")
    _report(opened, site, round_id, secrets)
    _confirm(opened, "Close the round", "Close it now")
    _watch_the_job(opened, site)
    _collect(opened)
    opened.page.get_by_role("link", name="receipt").click()
    expect(opened.page.get_by_role("heading", level=1)).to_contain_text("0.50 EUR")
    opened.page.get_by_role("link", name="Audit log").click()
    for action in ("round.opened", "round.closed", "invoice.payment_recorded"):
        expect(opened.page.get_by_role("cell", name=action)).to_have_count(1)


def _register(opened: Tab, name: str) -> str:
    """The secret of a key that the page shows this once."""
    page = opened.page
    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_label("Name of a new group").fill(name)
    page.get_by_role("button", name="Register the group").click()
    speaks_for = page.get_by_label("It speaks for")
    expect(speaks_for.locator("option:checked")).to_have_text(name)
    page.get_by_role("button", name="Make the key").click()
    secret = page.get_by_label("API key").input_value()
    page.get_by_role("button", name="I have kept it").click()
    assert secret not in page.content()
    return secret


def _announce(opened: Tab) -> str:
    """With a mistake on the way: what was filled in stays, and the field at fault is marked."""
    page = opened.page
    page.get_by_role("link", name="Rounds").click()
    page.get_by_role("button", name="Open a round").click()
    page.get_by_label("Name", exact=True).fill("Autumn")
    page.get_by_label("Base model").fill("tiny-enumerable")
    page.get_by_label("Largest group").fill("a hundred")
    page.get_by_label("Or upload one").set_input_files(
        {"name": "prompts.jsonl", "mimeType": "application/jsonl", "buffer": PROMPTS}
    )
    page.get_by_text("Advanced: pool").click()
    page.get_by_label("Pool", exact=True).select_option("enumerate")
    page.get_by_label("Tokens a response at most").fill("2")
    page.get_by_label("Worlds without a group").select_option("closed_form")
    page.get_by_role("button", name="Make a draft").click()
    largest = page.get_by_label("Largest group")
    expect(largest).to_have_attribute("aria-invalid", "true")
    expect(largest).to_have_accessible_description(re.compile("'a hundred'"))
    opened.expect_error("422")
    assert opened.violations() == []
    assert (
        page.get_by_label("One of your files")
        .locator("option:checked")
        .inner_text()
        .startswith("prompts.jsonl, 2 prompts")
    )
    largest.fill("10")
    page.get_by_role("button", name="Make a draft").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Autumn draft")
    expect(page.get_by_text(re.compile("^sha256:[0-9a-f]{64}$")).first).to_be_visible()
    return page.url.rsplit("/", 1)[-1]


def _ask_for_a_quote(opened: Tab, site: Site) -> None:
    """The figures come by themselves once its job has ended."""
    page = opened.page
    page.get_by_label("Price of a device hour").fill("2.50")
    page.get_by_role("button", name="Ask for a quote").click()
    expect(page.get_by_text("waits for a coordinator")).to_be_visible()
    publish_next(site.state)
    expect(page.get_by_role("row", name="Device hours")).to_be_visible(timeout=15_000)
    figures = page.get_by_role("row", name="Cost").get_by_role("cell").all_inner_texts()
    assert len(figures) == 3
    assert all(re.fullmatch(r"[\d,.]+ EUR", figure) for figure in figures)
    expected, low, high = (float(figure.removesuffix(" EUR")) for figure in figures)
    assert 0 < low <= expected <= high


def _report(opened: Tab, site: Site, round_id: str, secrets: list[str]) -> None:
    """With the keys that the pages showed. The round's page stays the same, whoever reports."""
    opened.page.reload()
    before = opened.page.get_by_role("main").inner_text()
    for secret in secrets:
        with site.api(secret) as api:
            report = api.put(f"/v1/rounds/{round_id}/report", json=report_body(size=7))
            assert report.status_code == 200, report.text
    opened.page.reload()
    assert opened.page.get_by_role("main").inner_text() == before


def _confirm(opened: Tab, deed: str, button: str) -> None:
    """A press shows what it will do, a second one does it."""
    opened.page.get_by_text(deed, exact=True).click()
    opened.page.get_by_role("button", name=button).click()
    expect(opened.page.get_by_role("button", name=button)).to_have_count(0)


def _watch_the_job(opened: Tab, site: Site) -> None:
    """Curves and log grow under the reader's eyes, and the page finds that the job has ended."""
    page = opened.page
    page.get_by_role("button", name="Job: watch it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Job of Autumn queued")
    held = claim(site.state.database, lease_seconds=3600)
    tell_training(site, held)
    for chart in ("#welfare canvas", "#divergence canvas"):
        expect(page.locator(chart)).to_have_count(1, timeout=15_000)
    told = page.locator("#log").get_by_role("cell", name="step 3 of 12")
    expect(told).to_have_count(2)
    steps = page.locator("#welfare-table tbody tr")
    expect(steps).to_have_count(3)
    page.get_by_text("on samples of the training: as a table").click()
    tell_steps(site, held, 4, 5)
    expect(steps).to_have_count(5, timeout=15_000)
    expect(steps.last).to_be_visible()  # still open
    expect(page.locator("#log").get_by_role("cell", name="step 5 of 12")).to_have_count(2)
    expect(page.locator("#welfare canvas")).to_have_count(1)
    with site.state.database.write() as session:
        leases.release(session, held, 0, counts=False)
    settle_next(site.state)
    page.get_by_role("button", name="Outcome").click(timeout=15_000)
    expect(page.locator("#valuations canvas")).to_have_count(1)
    expect(page.get_by_role("row", name="without pupils")).to_be_visible()


def _collect(opened: Tab) -> None:
    """A payment beyond what is due is refused beside its field; then all of it is recorded."""
    page = opened.page
    page.get_by_role("button", name="Invoices").click()
    page.get_by_role("link", name="No. 1").click()
    amount = page.get_by_label("Amount paid")
    expect(amount).to_have_value("0.50")
    amount.fill("0.51")
    page.get_by_label("Reference").fill("a transfer")
    page.get_by_role("button", name="Record the payment").click()
    expect(amount).to_have_attribute("aria-invalid", "true")
    assert page.get_by_label("Reference").input_value() == "a transfer"
    opened.expect_error("422")
    amount.fill("0.5")
    page.get_by_role("button", name="Record the payment").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Invoice no. 1 paid")
