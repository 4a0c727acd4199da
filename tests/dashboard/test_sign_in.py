"""Signing in and out, and what holds for every page."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest
from browsing import Tab
from site_scenes import Site

from service.dashboard.api import Refused, require_own_path
from service.dashboard.sessions import COOKIE, LIFETIME_SECONDS

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
    opened.expect_error("401")
    assert opened.violations() == []


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
    """Also where a browser still sends its cookie; the service's clock decides."""
    cookies = dict(signed_in.cookies)

    def status_at(now: float) -> int:
        clock = SimpleNamespace(time=lambda: now)
        monkeypatch.setattr("service.dashboard.sessions.time", clock)
        return httpx.get(f"{site.url}/dashboard/rounds", cookies=cookies).status_code

    signed_in_at = time.time()
    assert status_at(signed_in_at + LIFETIME_SECONDS - 60) == 200
    assert status_at(signed_in_at + LIFETIME_SECONDS + 1) == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "https://example.com"},
        {"Origin": "https://127.0.0.1:1"},
    ],
)
def test_another_sites_form_signs_nobody_in(site: Site, headers: dict[str, str]) -> None:
    """Else its key would be the one that the victim's report goes out with."""
    form = {"api_key": site.operator_key}
    refused = httpx.post(f"{site.url}/dashboard/sign-in", data=form, headers=headers)
    assert refused.status_code == 403
    assert "another site" in refused.text
    assert "set-cookie" not in refused.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "{url}"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "{url}"},
    ],
)
def test_the_own_form_and_a_program_sign_in(site: Site, headers: dict[str, str]) -> None:
    """A browser of today, one that asks by itself, one of before these headers, and none."""
    form = {"api_key": site.operator_key}
    sent = {name: value.format(url=site.url) for name, value in headers.items()}
    answer = httpx.post(f"{site.url}/dashboard/sign-in", data=form, headers=sent)
    assert answer.status_code == 303
    assert COOKIE in answer.cookies


def test_a_form_on_another_sites_page_is_refused_in_a_browser(site: Site, tab: OpenTab) -> None:
    opened = tab()
    form = f"""<form method="post" action="{site.url}/dashboard/sign-in">
        <input name="api_key" value="{site.operator_key}"><button>Win</button></form>"""
    opened.page.route(
        "http://elsewhere.test/", lambda route: route.fulfill(body=form, content_type="text/html")
    )
    opened.page.goto("http://elsewhere.test/")
    opened.page.get_by_role("button", name="Win").click()
    assert "another site" in opened.page.get_by_role("alert").inner_text()
    opened.expect_error("403")
    assert opened.violations() == []
    assert opened.page.context.cookies(f"{site.url}/dashboard") == []


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


def test_a_form_is_not_read_for_a_key_that_was_revoked(site: Site) -> None:
    with site.api() as api:
        made = api.post("/v1/keys", json={"scope": "operator"}).json()
        client = httpx.Client(base_url=site.url)
        client.post("/dashboard/sign-in", data={"api_key": made["secret"]})
        token = _csrf_token(client.get("/dashboard/rounds").text)
        api.delete(f"/v1/keys/{made['id']}")
    refused = client.post("/dashboard/rounds/new", data={"csrf_token": token})
    assert refused.status_code == 303
    assert "sign-in" in refused.headers["location"]


def test_a_form_with_a_file_holds_little_beside_it(signed_in: httpx.Client) -> None:
    token = _csrf_token(signed_in.get("/dashboard/rounds").text)
    file = {"prompts_upload": ("p.jsonl", b"{}")}
    for fields in ({"name": "x" * 100_000}, {f"f{n}": "x" for n in range(300)}):
        refused = signed_in.post(
            "/dashboard/rounds/new", data={"csrf_token": token, **fields}, files=file
        )
        assert refused.status_code == 400


@pytest.mark.parametrize("name", ["%3Fa", "%23a"])
def test_an_id_that_would_ask_for_another_path_is_nothing(
    signed_in: httpx.Client, name: str
) -> None:
    assert signed_in.get(f"/dashboard/invoices/{name}").status_code == 404
    with pytest.raises(Refused):
        require_own_path("/v1/rounds/../audit-log")


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
