"""Whoever must sign in first comes back to where they wanted to go."""

import html

import httpx
import pytest
from site_scenes import Site, hidden_field


def test_signing_in_leads_back_with_the_query(site: Site) -> None:
    wanted = "/dashboard/rounds?state=open&after=rnd_" + "0" * 26
    form = httpx.get(f"{site.url}{wanted}", follow_redirects=True)
    assert form.url.path == "/dashboard/sign-in"
    fields = {"api_key": site.operator_key, "next": html.unescape(hidden_field(form.text, "next"))}
    answer = httpx.post(form.url, data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, wanted)


def test_what_is_polled_leads_back_to_its_page(site: Site) -> None:
    """Not to the part alone, which is no page."""
    headers = {"HX-Request": "true", "HX-Current-URL": f"{site.url}/dashboard/jobs/x?y=1"}
    refused = httpx.get(f"{site.url}/dashboard/jobs/x/live", headers=headers)
    assert refused.headers["HX-Redirect"] == "/dashboard/sign-in?next=/dashboard/jobs/x%3Fy%3D1"


@pytest.mark.parametrize(
    "elsewhere", ["https://example.org/dashboard/x", "//example.org/dashboard/x?y", "/docs?z=1"]
)
def test_no_address_of_another_page_leads_away(site: Site, elsewhere: str) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": elsewhere}
    refused = httpx.get(f"{site.url}/dashboard/jobs/x/live", headers=headers)
    sign_in = refused.headers["HX-Redirect"]
    assert sign_in.startswith("/dashboard/sign-in?next=/")
    form = {"api_key": site.operator_key, "next": httpx.URL(sign_in).params["next"]}
    answer = httpx.post(f"{site.url}/dashboard/sign-in", data=form)
    assert answer.status_code == 303
    assert answer.headers["location"] in ("/dashboard", "/dashboard/x", "/dashboard/x?y")
