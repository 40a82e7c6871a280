"""Chromium as the tests of pages use it, and what it complained of."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright

PATIENCE = 20_000  # milliseconds; machines are shared

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SMALL = {"width": 320, "height": 568}

# Before anything of the page runs: what its policy forbids is told as an error.
_WATCH = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile }) =>
  console.error(`policy: ${violatedDirective} ${blockedURI} in ${sourceFile}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium: Playwright's own would come from a server of theirs."""
    path = shutil.which("chromium")
    assert path, "no Chromium on PATH; on Debian: apt install chromium"
    with sync_playwright() as playwright:
        # It never leaves this machine; and as root, CI's user, its sandbox does not start.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and what its console and its network told."""

    page: Page
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """Whom it asked."""
        return {
            urlsplit(url).netloc for url in self.asked if not url.startswith(("data:", "blob:"))
        }


@contextmanager
def watched(browser: Browser, **options: Any) -> Iterator[Watched]:
    """A page of its own, without a past; *options* as Playwright's new_context has them."""
    usual = {"timezone_id": "Europe/Berlin", "viewport": DESKTOP}
    context = browser.new_context(**usual | options)
    context.set_default_timeout(PATIENCE)
    context.add_init_script(_WATCH)
    found = Watched(context.new_page())
    found.page.on("console", lambda said: said.type == "error" and found.errors.append(said.text))
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("request", lambda request: _note(found, request))
    yield found
    context.close()


def _note(found: Watched, request: Request) -> None:
    found.asked.append(request.url)
