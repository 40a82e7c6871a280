"""One engine and one stack for all tests of Compose; each test leaves the stack healthy."""

import signal
from collections.abc import Iterator

import pytest

from tests.support.compose import engine, images
from tests.support.compose.stack import (
    EMPTY,
    MONITORS,
    STEADY,
    Stack,
    list_resources,
    run_stack,
    shipped_services,
)


def pytest_report_header() -> str:
    """The parts of the stack that are stand-ins."""
    services = shipped_services()
    names = ", ".join(services[name]["image"] for name in ("db", "redis", *MONITORS))
    return (
        f"stand-ins, from Debian 13's packages: {images.BASE}, {names}\n"
        f"empty containers, only started and stopped: {', '.join(EMPTY)}\n"
        "the exchange is the bundled simulator"
    )


@pytest.fixture(scope="session")
def docker() -> Iterator[engine.Engine]:
    """A running engine with Debian's slim image; a signal stops it in order, too."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    try:
        with engine.start_engine() as running:
            images.build_base(running)
            yield running
    except engine.EngineUnavailable as error:
        pytest.exit(f"no Docker engine can be started: {error}", engine.NOT_AVAILABLE)


@pytest.fixture(scope="session")
def stack(docker: engine.Engine) -> Iterator[Stack]:
    """The healthy stack without monitoring; asserts that nothing of it remains."""
    with run_stack(docker) as stack:
        stack.up(*STEADY, "exchange", build=True)
        yield stack
    assert list_resources(docker) == ""
