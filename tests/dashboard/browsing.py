"""Chromium, a tab that notes every error of its pages, and what axe finds on them."""

from dataclasses import dataclass, field

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
PHONE: ViewportSize = {"width": 360, "height": 740}


@dataclass
class Tab:
    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    """What the console and uncaught exceptions said; a test may take out what it provoked."""

    def go(self, path: str) -> Response:
        response = self.page.goto(self.url + path)
        assert response is not None
        return response

    def sign_in(self, key: str) -> None:
        self.go("/dashboard/sign-in")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

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
