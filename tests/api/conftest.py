"""Fixtures of the tests of the API."""

from collections.abc import Iterator

import pytest

from tests.support.logs import capture_log


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages that are logged from WARNING on."""
    with capture_log("WARNING", "{message}") as lines:
        yield lines
