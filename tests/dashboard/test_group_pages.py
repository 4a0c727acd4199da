"""A group's pages in a real browser: from sign-in to receipt, for everyone, on every screen."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from browsing import SCREENSHOTS, Tab
from fastapi.routing import APIRoute
from group_scenes import open_round, receipt_of, settled, written
from preview_scenes import preview, publish_next
from reward_model_scenes import ready
from scenes import settle_next
from site_scenes import Site
from support import report_body
from typer.testing import CliRunner

from client.cli import app as command
from service.dashboard import group, playground

OpenTab = Callable[..., Tab]
PAGES = {
    "/rounds": "Rounds",
    "/rounds/{round_id}": "Tone of the help desk",
    "/rounds/{settled_id}": "Spring",
    "/rounds/{round_id}/report": "Your report",
    "/rounds/{round_id}/report/previews/{preview_id}": "Preview of a report",
    "/receipts": "Receipts",
    "/receipts/{receipt_id}": "You pay 0.50 EUR",
    "/reward-models": "Reward models",
    "/reward-models/{reward_model_id}": "Spring",
    "/playground": "Playground",
}
"""Every page of a group, and its heading."""

NO_PAGES = {
    "/rounds/{round_id}/progress",
    "/rounds/{round_id}/round.json",
    "/rounds/{round_id}/certificate.json",
    "/rounds/{round_id}/prompts.jsonl",
    "/rounds/{round_id}/report/report.json",
    "/receipts/{receipt_id}/receipt.json",
    "/reward-models/{reward_model_id}/report_card.svg",
    "/reward-models/{reward_model_id}/content",
}
"""A part of a page, and files."""


@dataclass(frozen=True)
class Lived:
    """What a group has behind it: each page has something to show."""

    key: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def lived(site: Site) -> Lived:
    """A group with a report in an open round, its preview, a reward model, and a settled round."""
    groups = [site.new_group(name) for name in ("teachers", "hosts", "engineers")]
    _, key = groups[0]
    settled_id = settled(site, [id_ for id_, _ in groups], [0.5, 0.25, 0.0], name="Spring")
    open_id = open_round(site, name="Tone of the help desk", closes_at="2099-01-01T00:00:00Z")
    with site.api(key) as api:
        assert api.put(f"/v1/rounds/{open_id}/report", json=report_body()).status_code == 200
        preview_id = preview(api, open_id)["id"]  # type: ignore[arg-type]
        publish_next(site.state)
        made = ready(api, site.state)  # type: ignore[arg-type]
    return Lived(
        key,
        {
            "round_id": open_id,
            "preview_id": preview_id,
            "settled_id": settled_id,
            "receipt_id": receipt_of(site, key, settled_id)["id"],
            "reward_model_id": made["id"],
        },
    )


def test_every_page_of_a_group_is_looked_at() -> None:
    routers = [*group.ROUTERS, playground.router]
    routes = [route for router in routers for route in router.routes]
    asked = {route.path for route in routes if isinstance(route, APIRoute) and _is_get(route)}
    assert {path.removeprefix("/dashboard") for path in asked} <= {*PAGES, *NO_PAGES}


def _is_get(route: APIRoute) -> bool:
    return "GET" in (route.methods or set())


@pytest.mark.parametrize(("phone", "dark"), [(False, False), (True, True)])
def test_no_page_shuts_anyone_out(lived: Lived, tab: OpenTab, phone: bool, dark: bool) -> None:
    opened = tab(lived.key, phone=phone, dark=dark)
    for path, heading in PAGES.items():
        answer = opened.go("/dashboard" + path.format(**lived.ids))
        assert answer.status == 200, path
        assert opened.page.get_by_role("heading", level=1).all_inner_texts() == [heading]
        assert (path, opened.violations()) == (path, [])
        assert (path, opened.overflow()) == (path, 0)
        name = path.strip("/").replace("/", "-").translate(dict.fromkeys(map(ord, "{}")))
        picture = SCREENSHOTS / f"group-{name}{'-phone-dark' if phone else ''}.png"
        opened.page.screenshot(path=picture, full_page=True)


def test_a_group_goes_from_sign_in_to_its_receipt(
    site: Site, tab: OpenTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = site.new_group("gardeners")
    others = [site.new_group(name) for name in ("pupils", "parents")]
    round_id = open_round(site, name="Autumn")
    opened = tab(key)
    _report(opened, site)
    for _, other in others:
        with site.api(other) as api:
            api.put(f"/v1/rounds/{round_id}/report", json=report_body(word="sun"))
    with site.api() as api:
        api.post(f"/v1/rounds/{round_id}/close").raise_for_status()
    _wait_for_the_outcome(opened, site)
    _check_the_receipt(opened, site, tmp_path)
    _ask_both_models(opened, monkeypatch)


def _report(opened: Tab, site: Site) -> None:
    """With a mistake on the way, features that come and go, and a preview before it counts."""
    page = opened.page
    page.get_by_role("link", name="Autumn").click()
    page.get_by_role("button", name="Report", exact=True).click()
    page.get_by_role("button", name="Add: Length near a target").click()
    page.get_by_role("button", name="Add: Swearing").click()
    page.get_by_role("button", name="Remove Swearing").click()
    page.get_by_label("Words or phrases").fill("please, thank you")
    page.get_by_label("Size").fill("99")
    page.get_by_label("Target, in words").fill("12")
    page.get_by_label("Target, in words").press("Enter")
    size = page.get_by_label("Size")
    assert size.get_attribute("aria-invalid") == "true"
    assert "99" in page.get_by_role("alert").inner_text()
    opened.expect_error("422")
    size.fill("3")
    page.get_by_role("button", name="Preview what it would say").click()
    page.get_by_text("Waiting for its turn. Nothing is reported by it.").wait_for()
    publish_next(site.state)
    page.get_by_role("region", name="The best responses").wait_for()
    assert page.locator("#histogram canvas").count() == 1
    assert page.get_by_label("Words or phrases").input_value() == "please, thank you"
    page.get_by_role("button", name="Submit the report").click()
    page.get_by_role("heading", name="What you have reported").wait_for()
    assert page.get_by_label("Target, in words").input_value() == "12"


def _wait_for_the_outcome(opened: Tab, site: Site) -> None:
    """The page finds by itself that the round is settled."""
    page = opened.page
    page.get_by_role("link", name="Autumn").click()
    page.get_by_role("heading", name="How far it is").wait_for()
    assert opened.violations() == []
    settle_next(site.state)
    page.get_by_role("heading", name="What came out for your group").wait_for()
    with page.expect_download() as found:
        page.get_by_role("button", name="Download the adapter").click()
    assert found.value.suggested_filename.endswith("adapter.zip")


def _check_the_receipt(opened: Tab, site: Site, folder: Path) -> None:
    """What the page offers to download is enough for the check that it tells of."""
    page = opened.page
    page.get_by_role("button", name="What you pay, and why").click()
    assert "changed the model for the others by 0.500" in page.locator(".lead").inner_text()
    given = {}
    for name in ("Download the receipt", "report", "round"):
        with page.expect_download() as found:
            page.get_by_text(name, exact=True).click()
        given[name] = folder / found.value.suggested_filename
        found.value.save_as(given[name])
    with site.api() as api:
        (folder / "keys.json").write_text(json.dumps(api.get("/v1/keys/signing").json()))
    files = [str(path) for path in given.values()]
    options = ["--public-key", str(folder / "keys.json"), "--report", files[1], "--round", files[2]]
    checked = CliRunner().invoke(command, ["receipt", "verify", files[0], *options])
    assert checked.exit_code == 0, checked.output


def _ask_both_models(opened: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose process has to be started first, as the page says."""
    page = opened.page
    page.get_by_role("link", name="Playground").click()
    page.get_by_label("Prompt").fill("red sun")
    page.get_by_role("button", name="Ask both").click()
    page.locator(".note", has_text="truthtune inference").nth(1).wait_for()
    for _ in ("initial", "tuned"):
        opened.expect_error("503")
    assert opened.violations() == []
    monkeypatch.setattr("service.playground.asking.events", written)
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("the initial model at 1").wait_for()
    page.get_by_text("the tuned model at 1").wait_for()
    page.locator(".note", has_text="Cut at the limit of tokens.").nth(1).wait_for()
    assert page.locator(".note", has_text="truthtune inference").count() == 0
    assert opened.violations() == []
