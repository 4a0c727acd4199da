"""A running service, real Chromium, and pages that forgive nothing."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The scenes that the service's own tests set are set here too.
sys.path.append(str(Path(__file__).resolve().parents[1] / "service"))

from browsing import CHROMIUM, CHROMIUM_OPTIONS, SCREENSHOTS, Tab, open_tab, path_of
from playwright.sync_api import Browser, sync_playwright
from site_scenes import Site, serve_site

import migrations
from service.database import Database


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """`path_of` says what happens where there is none.

    Of a module, since Playwright's event loop runs as long: no `asyncio.run` works beside it.
    """
    path = path_of(CHROMIUM, "`make test` installs it on Debian, as root")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application behind a socket, on an SQLite database that a module's tests share."""
    home = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home / 'truthtune.db'}"
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()
    with serve_site(home, url) as site:
        yield site


@pytest.fixture
def tab(
    chromium: Browser, site: Site, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Tab]]:
    """Opens a tab of a browser of its own (`phone=True`, `dark=True`), signed in with `key`.

    The test fails if a page wrote an error to the console; its last page is kept as a picture.
    """
    tabs: list[Tab] = []

    def open_(key: str | None = None, *, phone: bool = False, dark: bool = False) -> Tab:
        tabs.append(open_tab(chromium, site.url, phone=phone, dark=dark))
        if key is not None:
            tabs[-1].sign_in(key)
        return tabs[-1]

    yield open_
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for number, tab in enumerate(tabs):
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        tab.page.screenshot(path=SCREENSHOTS / f"{name}-{number}.png", full_page=True)
        tab.page.context.close()
    assert [error for tab in tabs for error in tab.errors] == []
