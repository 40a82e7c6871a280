"""The API that is asked, and what can go wrong with that."""

import argparse
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from tracker.client import Client
from tracker.errors import ApiAway, describe
from tracker.settings import Settings

T = TypeVar("T")

_HERE = {"127.0.0.1", "localhost", "::1"}


def url(settings: Settings, arguments: argparse.Namespace) -> str:
    """Where the API is: what `--url` says, or the one that `up` or `demo` runs here."""
    return arguments.url or f"http://127.0.0.1:{settings.web_port}"


def client(address: str, **options: Any) -> Client:
    """A client of the API at *address*; no proxy is between us and this machine."""
    return Client(address, trust_env=urlsplit(address).hostname not in _HERE, **options)


def answers(address: str, ask: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What *ask* gives. Raises ApiAway if nothing comes, or what is no answer of the API."""
    try:
        yield from ask()
    except httpx.ConnectError as error:
        why = describe(error)
        raise ApiAway(f"{address} does not answer: {why}; does `ops/just up` run?") from error
    except httpx.RequestError as error:
        raise ApiAway(f"{address}: {describe(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ApiAway(f"{address} answers, but not as a tracker does") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Who stops reading our output ends us, without a word.

    Not by SIG_DFL from the start: the API may close a connection that we write to.
    """
    try:
        yield
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
