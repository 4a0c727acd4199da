"""Chromium, a tab that notes every error of its pages, and what axe finds on them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, ViewportSize

CHROMIUM = "chromium"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK: ViewportSize = {"width": 1280, "height": 900}
SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-artifacts" / "screenshots"
PHONE: ViewportSize = {"width": 360, "height": 740}
_NOTED_WITHIN_MS = 2_000
_LOOKS_EVERY_MS = 50
_SEND = """([path, fields]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = path;
  const csrf_token = document.querySelector("[name=csrf_token]").value;
  for (const [name, value] of Object.entries({csrf_token, ...fields})) {
    form.append(Object.assign(document.createElement("input"), {name, value}));
  }
  document.body.append(form);
  form.submit();
}"""


def path_of(program: str, remedy: str) -> str:
    """Without the program the test is skipped, unless BROWSER_TESTS=required, which says
    that here nothing of the dashboard may be skipped."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not installed ({remedy})"
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Tab:
    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    """What the console and uncaught exceptions said; `expect_error` takes out what was provoked."""

    def go(self, path: str) -> Response:
        response = self.page.goto(self.url + path)
        assert response is not None
        return response

    def sign_in(self, key: str) -> None:
        self.go("/dashboard/sign-in")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    def send(self, path: str, fields: Mapping[str, str]) -> Response:
        """The page that answers a form, sent with the token of the page that is shown."""
        with self.page.expect_navigation() as found:
            self.page.evaluate(_SEND, [path, dict(fields)])
        assert found.value is not None
        return found.value

    def expect_error(self, status: str) -> None:
        """Takes out the one error that Chromium notes of an answer with this status.

        It notes it beside the page's events, so maybe a moment after the page is shown.
        """
        said = f"responded with a status of {status} "
        for _ in range(0, _NOTED_WITHIN_MS, _LOOKS_EVERY_MS):
            found = [error for error in self.errors if said in error]
            if found:
                return self.errors.remove(found[0])
            self.page.wait_for_timeout(_LOOKS_EVERY_MS)
        raise AssertionError(f"no answer of status {status} among {self.errors}")

    def violations(self) -> list[str]:
        """What axe finds wrong with the page by WCAG 2 A and AA and its best practices."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['html']} {node.get('failureSummary', '')}"
            for each in found
            for node in each["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        width = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return int(width)


def open_tab(chromium: Browser, url: str, phone: bool, dark: bool) -> Tab:
    context = chromium.new_context(
        viewport=PHONE if phone else DESK,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(20_000)
    tab = Tab(context.new_page(), url)
    tab.page.on("console", lambda message: _note(tab, message))
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    return tab


def _note(tab: Tab, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        tab.errors.append(f"{message.text} ({message.location.get('url')})")
