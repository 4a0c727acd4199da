"""Signing in and out, and what holds for every page."""

from collections.abc import Callable

import httpx
import pytest
from browsing import Tab
from site_scenes import Site

from service.dashboard.sessions import COOKIE

OpenTab = Callable[..., Tab]


def _csrf_token(page: str) -> str:
    return page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


@pytest.fixture
def signed_in(site: Site) -> httpx.Client:
    client = httpx.Client(base_url=site.url)
    answer = client.post("/dashboard/sign-in", data={"api_key": site.operator_key})
    assert answer.status_code == 303
    return client


@pytest.mark.parametrize(("phone", "dark"), [(False, False), (True, True)])
def test_a_person_signs_in_and_out(site: Site, tab: OpenTab, phone: bool, dark: bool) -> None:
    opened = tab(phone=phone, dark=dark)
    opened.go("/")
    assert opened.page.url == f"{site.url}/dashboard/sign-in"
    assert opened.violations() == []
    assert opened.overflow() == 0
    opened.sign_in(site.operator_key)
    opened.page.get_by_role("button", name="Sign out").click()
    opened.page.get_by_role("heading", name="Sign in").wait_for()
    opened.go("/dashboard/rounds")
    assert opened.page.url == f"{site.url}/dashboard/sign-in?next=/dashboard/rounds"


def test_a_wrong_key_is_told_so_and_the_form_stays(site: Site, tab: OpenTab) -> None:
    opened = tab()
    opened.go("/dashboard/sign-in")
    opened.page.get_by_label("API key").fill("tt_op_wrong")
    opened.page.get_by_role("button", name="Sign in").click()
    assert "unknown or revoked" in opened.page.get_by_role("alert").inner_text()
    opened.errors.clear()  # Chromium notes the 401


def test_the_cookie_is_out_of_scripts_reach_and_holds_no_readable_key(
    site: Site, signed_in: httpx.Client
) -> None:
    answer = httpx.post(f"{site.url}/dashboard/sign-in", data={"api_key": site.operator_key})
    (cookie,) = answer.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=lax", "Path=/dashboard"} <= set(cookie.split("; "))
    assert site.operator_key not in cookie
    assert site.operator_key not in signed_in.get("/dashboard/rounds").text


def test_a_changed_cookie_signs_nobody_in(site: Site, signed_in: httpx.Client) -> None:
    sealed = signed_in.cookies[COOKIE]
    other = "A" if sealed[40] != "A" else "B"
    for changed in (sealed[:40] + other + sealed[41:], sealed[:-8], "x", "é".encode().hex()):
        answer = httpx.get(f"{site.url}/dashboard/rounds", cookies={COOKIE: changed})
        assert answer.status_code == 303
        assert "sign-in" in answer.headers["location"]


def test_a_session_ends_with_its_key(site: Site, signed_in: httpx.Client) -> None:
    """Another key, since this module's tests share the operator's."""
    with site.api() as api:
        made = api.post("/v1/keys", json={"scope": "operator"}).json()
        client = httpx.Client(base_url=site.url)
        client.post("/dashboard/sign-in", data={"api_key": made["secret"]})
        assert client.get("/dashboard/rounds").status_code == 200
        api.delete(f"/v1/keys/{made['id']}")
    assert client.get("/dashboard/rounds").status_code == 303
    fragment = client.get("/dashboard/rounds", headers={"HX-Request": "true"})
    assert fragment.headers["HX-Redirect"] == "/dashboard/sign-in?next=/dashboard/rounds"


def test_an_old_session_is_over(
    site: Site, signed_in: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.dashboard.sessions.LIFETIME_SECONDS", 0)
    client = httpx.Client(base_url=site.url)
    client.post("/dashboard/sign-in", data={"api_key": site.operator_key})
    assert client.get("/dashboard/rounds").status_code == 303
    assert signed_in.get("/dashboard/rounds").status_code == 200


@pytest.mark.parametrize("token", [None, "", "x" * 43])
def test_a_form_without_the_sessions_token_does_nothing(
    signed_in: httpx.Client, token: str | None
) -> None:
    data = {} if token is None else {"csrf_token": token}
    refused = signed_in.post("/dashboard/sign-out", data=data)
    assert refused.status_code == 403
    assert "load its page again" in refused.text
    assert signed_in.get("/dashboard/rounds").status_code == 200


def test_another_sessions_token_is_no_good(site: Site, signed_in: httpx.Client) -> None:
    other = httpx.Client(base_url=site.url)
    other.post("/dashboard/sign-in", data={"api_key": site.operator_key})
    token = _csrf_token(other.get("/dashboard/rounds").text)
    assert signed_in.post("/dashboard/sign-out", data={"csrf_token": token}).status_code == 403
    assert other.post("/dashboard/sign-out", data={"csrf_token": token}).status_code == 303


@pytest.mark.parametrize(
    "elsewhere",
    ["https://example.com", "//example.com", "/\\example.com", "/v1/rounds", "/dashboardx"],
)
def test_signing_in_leads_to_own_pages_only(site: Site, elsewhere: str) -> None:
    answer = httpx.post(
        f"{site.url}/dashboard/sign-in", data={"api_key": site.operator_key, "next": elsewhere}
    )
    assert answer.headers["location"] == "/dashboard"


def test_pages_run_their_own_scripts_alone_and_no_cache_keeps_them(
    signed_in: httpx.Client,
) -> None:
    page = signed_in.get("/dashboard/rounds")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/dashboard/nowhere", 404, "there is nothing at /dashboard/nowhere"),
        ("/dashboard/rounds/x", 422, "round_id"),
        ("/dashboard/rounds/rnd_" + "0" * 26, 404, "rnd_"),
    ],
)
def test_what_there_is_not_is_told_on_a_page(
    signed_in: httpx.Client, path: str, status: int, said: str
) -> None:
    page = signed_in.get(path)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert said in page.text
    assert "Sign out" in page.text
    api = signed_in.get(path.removeprefix("/dashboard") or "/")
    assert api.headers["content-type"].startswith("application/problem+json")


def test_pages_are_no_part_of_the_metrics(site: Site, signed_in: httpx.Client) -> None:
    signed_in.get("/dashboard/rounds")
    assert "/dashboard" not in httpx.get(f"{site.url}/metrics").text


def test_failed_sign_ins_count_as_failed_authentications(site: Site) -> None:
    allowed = site.state.settings.failed_authentications_per_minute
    statuses = (
        httpx.post(f"{site.url}/dashboard/sign-in", data={"api_key": f"tt_op_{n}"}).status_code
        for n in range(10 * allowed)
    )
    assert 429 in statuses
