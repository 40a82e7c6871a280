"""Makes the README's screenshots of the page, from a demo with weeks of history, in Chromium.

The history has the simulator's prices, which the demo continues.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from tracker.settings import Settings
from tracker.simulator import price_at

FOLDER = Path(__file__).parent
TRACKER = Path(sys.executable).with_name("tracker")
TICKERS = ("btc_usd", "eth_usd")
DAYS = 60
TIMEOUT = 60  # seconds

# Periods in hours before now, from and to.
MISSING = ((9, 8.2), (40, 38), (101, 92), (340, 339.5), (800, 775))
REPAIRED = ((6, 5), (30, 29), (75, 66), (500, 497))

DESKTOP = {"viewport": {"width": 1440, "height": 900}, "device_scale_factor": 1}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
SCREENSHOTS = {
    "light": (DESKTOP, "light", "ticker=btc_usd&range=24h&interval=5m&type=candles"),
    "dark": (DESKTOP, "dark", "ticker=eth_usd&range=7d&interval=1h&type=candles"),
    "phone": (PHONE, "dark", "ticker=btc_usd&range=24h&interval=15m&type=candles"),
}


def main() -> None:
    """Make all screenshots."""
    with tempfile.TemporaryDirectory(prefix="tracker-screenshots-") as folder:
        Path(folder).chmod(0o755)  # for root, the servers run as another user
        with demo(Path(folder)) as (url, env):
            history = Path(folder) / "history.csv"
            write_history(history)
            subprocess.run([TRACKER, "import", history], env=env, check=True, stdout=sys.stderr)
            take_screenshots(url)


@contextmanager
def demo(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Run `tracker demo` in *folder*: its URL when ready, and an environment for other commands."""
    web, simulator = free_ports()
    env = os.environ | {
        "TRACKER_HOME": str(folder / "home"),
        "TRACKER_CACHE": str(Settings.load().cache),
        "WEB_PORT": web,
        "SIMULATOR_PORT": simulator,
        "POSTGRES_HOST": "",
        "REDIS_HOST": "",
    }
    url = f"http://127.0.0.1:{web}"
    process = subprocess.Popen([TRACKER, "demo"], env=env, stdout=subprocess.DEVNULL)
    try:
        wait_for(url)
        yield url, env
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)


def free_ports() -> list[str]:
    """Two free ports."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [str(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_for(url: str) -> None:
    """Wait until the demo has prices. Raises SystemExit."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the demo at {url} was not ready within {TIMEOUT} s")


def write_history(path: Path) -> None:
    """Write the prices of the last weeks, except the missing ones, for `tracker import`."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    with path.open("w") as file:
        file.write("ticker,created_at,price,source\n")
        for age in range(58, DAYS * 24 * 60):
            if not is_within(age, MISSING):
                minute = now - timedelta(minutes=age)
                source = "chart" if is_within(age, REPAIRED) else "poll"
                for ticker in TICKERS:
                    price = price_at(1, ticker, int(minute.timestamp()))
                    file.write(f"{ticker},{minute:%Y-%m-%dT%H:%MZ},{price},{source}\n")


def is_within(age: int, periods: tuple[tuple[float, float], ...]) -> bool:
    """Whether a minute *age* minutes ago is in one of *periods*."""
    return any(until * 60 <= age < since * 60 for since, until in periods)


def take_screenshots(url: str) -> None:
    """Take each of SCREENSHOTS when the page is live and drawn."""
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("no Chromium on PATH; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        for name, (screen, scheme, selection) in SCREENSHOTS.items():
            # The page is ours; and as root, Chromium's sandbox does not start. A canvas is sharp
            # only if the browser itself has the scale factor.
            args = ["--no-sandbox", f"--force-device-scale-factor={screen['device_scale_factor']}"]
            browser = playwright.chromium.launch(executable_path=path, args=args)
            page = browser.new_page(**screen, color_scheme=scheme, timezone_id="Europe/Berlin")
            page.goto(f"{url}/#{selection}")
            page.locator("#connection[data-state=up]").wait_for()
            page.locator("#chart[data-bars]").wait_for()
            page.locator("#days li").last.wait_for()
            page.wait_for_timeout(1500)  # older candles and marks appear later
            page.screenshot(path=FOLDER / f"{name}.png")
            browser.close()


if __name__ == "__main__":
    main()
