"""One engine and one stack for all of these tests; each leaves the stack as it was: well."""

import signal
from collections.abc import Iterator

import pytest

from tests.compose import engine, images
from tests.compose.stack import EMPTY, STEADY, WATCHERS, Stack, composed, left, services


def pytest_report_header() -> str:
    """What of the stack is not the real thing."""
    found = services()
    names = ", ".join(found[name]["image"] for name in ("db", "redis", *WATCHERS))
    return (
        f"stand-ins, from Debian 13's packages: {images.BASE}, {names}\n"
        f"empty containers, only started and stopped: {', '.join(EMPTY)}\n"
        "the exchange is the bundled simulator"
    )


@pytest.fixture(scope="session")
def docker() -> Iterator[engine.Engine]:
    """A running engine that has Debian's slim image; a signal ends it in order, too."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    try:
        with engine.running() as running:
            images.build_base(running)
            yield running
    except engine.Unstartable as error:
        pytest.exit(f"no Docker engine can be started: {error}", engine.NOT_HERE)


@pytest.fixture(scope="session")
def stack(docker: engine.Engine) -> Iterator[Stack]:
    """The stack without monitoring, built, started and well; nothing of it is left."""
    with composed(docker) as stack:
        stack.up(*STEADY, "exchange", build=True)
        yield stack
    assert left(docker) == ""
