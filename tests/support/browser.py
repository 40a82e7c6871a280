"""Chromium for the tests of pages, with what the page logs and requests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

TIMEOUT = 60_000  # milliseconds

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SMALL = {"width": 320, "height": 568}

# Runs before the page's scripts and logs each violation of the policy as an error.
_LOG_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile }) =>
  console.error(`policy: ${violatedDirective} ${blockedURI} in ${sourceFile}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium: Playwright's own would be downloaded from its vendor."""
    path = shutil.which("chromium")
    assert path, "no Chromium on PATH; on Debian: apt install chromium"
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        # The pages are ours; and as root, CI's user, Chromium's sandbox does not start.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class MonitoredPage:
    """A page, the errors on its console, and the URLs that it requested."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """The hosts that it sent requests to."""
        return {
            urlsplit(url).netloc for url in self.requests if not url.startswith(("data:", "blob:"))
        }

    def log_message(self, message: ConsoleMessage) -> None:
        """Record *message* if it is an error of the page.

        Chromium fails requests while another test changes the machine's network interfaces.
        """
        if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
            self.errors.append(message.text)


@contextmanager
def open_page(browser: Browser, **options: Any) -> Iterator[MonitoredPage]:
    """A page in a context of its own; *options* are those of Playwright's new_context."""
    defaults = {"timezone_id": "Europe/Berlin", "viewport": DESKTOP}
    context = browser.new_context(**defaults | options)
    context.set_default_timeout(TIMEOUT)
    context.add_init_script(_LOG_VIOLATIONS)
    page = context.new_page()
    observed = MonitoredPage(page)
    page.on("console", observed.log_message)
    page.on("pageerror", lambda error: observed.errors.append(str(error)))
    page.on("request", lambda request: observed.requests.append(request.url))
    yield observed
    context.close()
