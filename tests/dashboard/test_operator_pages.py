"""The operator's pages: everyone can use each of them in a real browser, and their forms hold."""

import re
from collections.abc import Callable

import pytest
from browsing import DESK, PHONE, SCREENSHOTS, Tab
from corpus_scenes import create_corpus, tell_spent
from fastapi.routing import APIRoute
from operator_scenes import draft_round, make_initial_model, run_round, settle_round
from playwright.sync_api import expect
from scenes import claim
from site_scenes import Person, Site, hidden_field
from support import add_key

from api_schemas.rounds import RoundFailure
from service.dashboard import rounds
from service.dashboard.operator import round_form, routers
from service.jobs import leases

OpenTab = Callable[..., Tab]

PAGES = {
    "/rounds": "Rounds",
    "/rounds/new": "Open a round",
    "/rounds/{draft_id}": "Draft of spring draft",
    "/rounds/{running_id}": "Being trained running",
    "/rounds/{round_id}": "Tone of the help desk settled",
    "/rounds/{round_id}/outcome": "Outcome of Tone of the help desk",
    "/rounds/{round_id}/audits/new": "Audit Tone of the help desk",
    "/jobs/{running_job_id}": "Job of Being trained running",
    "/audits/{audit_id}": "Audit of Tone of the help desk succeeded",
    "/invoices": "Invoices",
    "/invoices/{invoice_id}": "Invoice no. 1 open",
    "/ledger": "Ledger",
    "/models": "Models",
    "/initial-models": "Initial models",
    "/initial-models/corpora/{corpus_id}": "Rain succeeded",
    "/initial-models/base-models/{base_model_id}": "Rain succeeded",
    "/initial-models/evaluations/{evaluation_id}": "Rain succeeded",
    "/keys": "Groups and keys",
    "/audit-log": "Audit log",
}
"""Every page of the operator, and its heading."""

_NO_BRACES = str.maketrans("", "", "{}")
_PARTS = {"live", "stages", "plot.svg", "reward_drift.svg", "adapter.zip", "pool"}
"""The last part of paths that are no pages: fragments of one, drawings and downloads."""


@pytest.fixture(scope="module")
def ids(site: Site) -> dict[str, str]:
    """By the names of PAGES: of a settled round, one that runs, and a draft."""
    groups = [site.new_group(name)[0] for name in ("teachers", "hosts", "engineers")]
    books = settle_round(site, groups)
    held = run_round(site, groups)
    draft_id = draft_round(site, name="Draft of spring")
    return (
        vars(books)
        | make_initial_model(site)
        | {
            "draft_id": draft_id,
            "running_id": held.job.round_id,
            "running_job_id": held.job_id,
        }
    )


@pytest.fixture(scope="module")
def browser(site: Site) -> Person:
    return Person(site, site.operator_key)


def test_every_page_is_looked_at() -> None:
    found = {
        route.path.removeprefix("/dashboard")
        for router in (*routers.ROUTERS, rounds.router, round_form.router)
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }
    pages = {path for path in found if path.rsplit("/", 1)[-1] not in _PARTS}
    shape = {
        "{draft_id}": "{round_id}",
        "{running_id}": "{round_id}",
        "{running_job_id}": "{job_id}",
    }
    looked_at = set(PAGES)
    for named, parameter in shape.items():
        looked_at = {path.replace(named, parameter) for path in looked_at}
    assert pages == looked_at


def test_no_page_shuts_anyone_out(site: Site, ids: dict[str, str], tab: OpenTab) -> None:
    """On a desk by day, and the same page on a phone in the dark: a load costs more than a look."""
    opened = tab(site.operator_key)
    for path, heading in PAGES.items():
        opened.page.set_viewport_size(DESK)
        opened.page.emulate_media(color_scheme="light")
        opened.go(f"/dashboard{path.format(**ids)}")
        assert opened.page.get_by_role("heading", level=1).all_inner_texts() == [heading]
        _look_at(opened, path, "desk")
        opened.page.set_viewport_size(PHONE)
        opened.page.emulate_media(color_scheme="dark")
        _look_at(opened, path, "phone-dark")


def _look_at(opened: Tab, path: str, screen: str) -> None:
    expect(opened.page.locator("html")).to_have_js_property("scrollWidth", _width(opened))
    assert (path, screen, opened.violations()) == (path, screen, [])
    name = path.strip("/").replace("/", "-").translate(_NO_BRACES)
    picture = SCREENSHOTS / f"operator-{name}-{screen}.png"
    opened.page.screenshot(path=picture, full_page=True)


def _width(opened: Tab) -> int:
    """Of the window, which no page is wider than once its charts are drawn anew."""
    return int(opened.page.evaluate("document.documentElement.clientWidth"))


def test_a_form_that_is_sent_twice_announces_one_round(site: Site, browser: Person) -> None:
    with site.api() as api:
        sent = {"file": ("p.jsonl", b'{"prompt": "red"}\n')}
        prompts = api.post("/v1/files", data={"purpose": "prompts"}, files=sent).json()["id"]
    fields = {
        "name": "Sent twice",
        "base_model": "tiny-enumerable",
        "prompts_file_id": prompts,
        "generation.max_new_tokens": "2",
        "idempotency_key": hidden_field(browser.get("/rounds/new").text, "idempotency_key"),
    }
    first, second = (browser.post("/rounds/new", **fields) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    other = browser.post("/rounds/new", **fields | {"name": "Another"})
    assert other.status_code == 422
    assert "take a new key" in other.text
    again = fields | {
        "name": "Another",
        "idempotency_key": hidden_field(other.text, "idempotency_key"),
    }
    assert browser.post("/rounds/new", **again).status_code == 303


def test_what_the_api_refuses_is_told_beside_its_field(
    browser: Person, ids: dict[str, str]
) -> None:
    invoice, audits = f"/invoices/{ids['invoice_id']}", f"/rounds/{ids['round_id']}/audits/new"
    named = {"name": "x", "prompts_file_id": "file_" + "0" * 26}
    soups = {"training.method": "rewarded_soups", "counterfactuals": "soup"}
    cases = [
        ("/rounds/new", {"name": "x"}, "prompts_file_id"),
        ("/rounds/new", {**named, "training.steps": "0"}, "training.steps"),
        ("/rounds/new", {**named, **soups, "training.steps": "0"}, "training.steps"),
        ("/rounds/new", {**named, "regularizer.coefficient": "0"}, "regularizer.coefficient"),
        ("/rounds/new", {"price_per_unit_micro_units": "cheap"}, "price_per_unit_micro_units"),
        (f"{invoice}/payments", {"amount_micro_units": "x"}, "amount_micro_units"),
        (f"{invoice}/payments", {"amount_micro_units": "0.1", "reference": ""}, "reference"),
        (
            f"{invoice}/credit-notes",
            {"credit_micro_units": "9", "reason": "r"},
            "credit_micro_units",
        ),
        (audits, {"alphas": "0.5, twice"}, "alphas"),
        ("/groups", {"name": "teachers"}, "name"),
        ("/keys", {"for": "grp_nobody", "access": "full"}, "for"),
        ("/keys", {"for": "operator", "expires_at": "2001-01-01T00:00"}, "expires_at"),
        (f"/rounds/{ids['draft_id']}/quotes", {"groups": "0"}, "groups"),
    ]
    for path, fields, field in cases:
        refused = browser.post(path, **fields)
        assert refused.status_code in (404, 409, 422), path
        tag = re.search(rf'<(?:input|select) id="{field}"[^>]*>', refused.text)
        assert tag is not None, path
        assert 'aria-invalid="true"' in tag[0], (path, field)
        assert f'id="wrong-{field}"' in refused.text, (path, field)


def test_a_deed_that_comes_too_late_shows_how_things_are(
    browser: Person, ids: dict[str, str]
) -> None:
    for path in (
        f"/rounds/{ids['round_id']}/open",
        f"/rounds/{ids['round_id']}/cancel",
        f"/jobs/{ids['job_id']}/cancel",
        f"/invoices/{ids['invoice_id']}/open",
    ):
        refused = browser.post(path)
        assert refused.status_code == 409, path
        assert 'role="alert"' in refused.text, path


def test_invoices_are_credited_written_off_and_voided(site: Site, browser: Person) -> None:
    group_id, _ = site.new_group("debtors")
    books = settle_round(site, [group_id])
    at = f"/invoices/{books.invoice_id}"
    credited = browser.post(f"{at}/credit-notes", credit_micro_units="0.148", reason="agreed")
    assert credited.status_code == 303
    assert browser.post(f"{at}/uncollectible").status_code == 303
    with site.api() as api:
        invoice = api.get(f"/v1/invoices/{books.invoice_id}").json()
    assert (invoice["status"], invoice["amount_due_micro_units"]) == ("uncollectible", 500_000)
    assert "agreed" in browser.get(at).text


def test_a_key_is_shown_once_rotated_and_revoked(site: Site, browser: Person) -> None:
    made = browser.post("/keys", **{"for": "operator", "key_name": "spare", "access": "read"})
    assert made.status_code == 201
    secret = re.search(r"tt_op_[\w-]+", made.text)
    assert secret is not None
    with site.api(secret[0]) as api:
        key = api.get("/v1/keys/current").json()
    assert (key["name"], key["access"]) == ("spare", "read")
    rotated = browser.post(f"/keys/{key['id']}/rotate", grace_seconds="0")
    successor = re.search(r"tt_op_[\w-]+", rotated.text)
    assert rotated.status_code == 201
    assert successor is not None
    with site.api(successor[0]) as api:
        successor_id = api.get("/v1/keys/current").json()["id"]
        assert browser.post(f"/keys/{successor_id}/revoke").status_code == 303
        assert api.get("/v1/keys/current").status_code == 401
    assert secret[0] not in browser.get("/keys").text


def test_a_key_that_may_only_read_is_shown_no_deeds(
    site: Site, browser: Person, ids: dict[str, str]
) -> None:
    made = browser.post("/keys", **{"for": "operator", "key_name": "reader", "access": "read"})
    secret = re.search(r"tt_op_[\w-]+", made.text)
    assert secret is not None
    reader = Person(site, secret[0])
    for path in PAGES:
        page = reader.get(path.format(**ids)).text
        forms = re.findall(r'method="post" action="([^"]+)"', page)
        assert forms == ["/dashboard/sign-out"], path
    refused = reader.post(f"/rounds/{ids['draft_id']}/open")
    assert refused.status_code == 403
    assert "may only read" in refused.text


def test_a_group_is_refused_as_by_the_api(site: Site, ids: dict[str, str]) -> None:
    """It may see its own invoices and the jobs of rounds; the rest is the operator's."""
    stranger = Person(site, add_key(site.state, "group", site.new_group("strangers")[0]))
    shared = {"/rounds", "/rounds/{round_id}", "/rounds/{running_id}"}
    shared |= {"/jobs/{running_job_id}", "/invoices", "/models"}
    for path in PAGES.keys() - shared:
        assert stranger.get(path.format(**ids)).status_code in (403, 404), path
    assert stranger.post(f"/rounds/{ids['draft_id']}/open").status_code == 403
    running = stranger.get(f"/jobs/{ids['running_job_id']}").text
    assert "training_step" not in running
    assert "Worlds" not in running


def test_a_part_that_is_polled_ends_with_its_job(browser: Person, ids: dict[str, str]) -> None:
    for part in ("live", "stages"):
        assert browser.get(f"/jobs/{ids['running_job_id']}/{part}").status_code == 200
        ended = browser.get(f"/jobs/{ids['job_id']}/{part}")
        assert (ended.status_code, ended.headers["HX-Refresh"]) == (286, "true")


def test_a_corpus_that_is_made_tells_what_it_has_spent_until_it_has_ended(
    site: Site, browser: Person, ids: dict[str, str]
) -> None:
    with site.api() as api:
        made = create_corpus(api, name="Snow", budget={"max_tokens": 1000})
    held = claim(site.state.database, lease_seconds=3600)
    tell_spent(site.state, held, prompt_tokens=300, completion_tokens=50)
    at = f"/initial-models/corpora/{made['id']}"
    for part in (at, f"{at}/live"):
        shown = browser.get(part)
        assert (shown.status_code, "350 of 1,000 tokens" in shown.text) == (200, True)
    ended = browser.get(f"/initial-models/corpora/{ids['corpus_id']}/live")
    assert (ended.status_code, ended.headers["HX-Refresh"]) == (286, "true")
    with site.state.database.write() as session:
        leases.fail(session, held, RoundFailure(code="budget_exhausted", message="used up"))
    stopped = browser.get(at).text
    assert "budget_exhausted" in stopped
    assert f"truthtune corpus resume {made['id']}" in stopped


def test_drawings_and_downloads_come_as_the_api_gives_them(
    site: Site, browser: Person, ids: dict[str, str]
) -> None:
    corpus, base, evaluation = (
        ids[name] for name in ("corpus_id", "base_model_id", "evaluation_id")
    )
    weights = "checkpoints/6/adapter_model.safetensors"
    paths = {
        f"/models/{ids['model_id']}/adapter.zip": f"/v1/models/{ids['model_id']}/adapter.zip",
        f"/audits/{ids['audit_id']}/plot.svg": f"/v1/audits/{ids['audit_id']}/plot.svg",
        f"/jobs/{ids['job_id']}/reward_drift.svg": (
            f"/v1/jobs/{ids['job_id']}/plots/reward_drift.svg"
        ),
        f"/rounds/{ids['round_id']}/pool": f"/v1/rounds/{ids['round_id']}/pool",
        f"/initial-models/corpora/{corpus}/plot.svg": f"/v1/corpora/{corpus}/plot",
        f"/initial-models/corpora/{corpus}/lines.jsonl": f"/v1/corpora/{corpus}/lines",
        f"/initial-models/base-models/{base}/{weights}": f"/v1/base-models/{base}/{weights}",
        f"/initial-models/evaluations/{evaluation}/answers.jsonl": (
            f"/v1/evaluations/{evaluation}/answers"
        ),
    }
    with site.api() as api:
        for page, path in paths.items():
            shown, given = browser.get(page), api.get(path)
            assert shown.status_code == given.status_code == 200, page
            assert shown.content == given.content
            assert shown.headers["ETag"] == given.headers["ETag"]
