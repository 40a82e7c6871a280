"""Whether the exchange can be reached at all, asked once and in the background."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from tracker.errors import describe

_PATIENCE = 5.0  # seconds, with the look-up of the name


def check_exchange(base_url: str, say: Callable[[str], None]) -> None:
    """Return at once; *say* within five seconds if nothing answers at *base_url*."""
    Thread(target=_check, args=(base_url, say), daemon=True).start()


def _check(base_url: str, say: Callable[[str], None]) -> None:
    trouble: Future[str] = Future()
    # One more thread: looking up a name knows no time-out.
    Thread(target=_ask, args=(base_url, trouble), daemon=True).start()
    try:
        why = trouble.result(_PATIENCE)
    except TimeoutError:
        why = f"no answer within {_PATIENCE:g} s"
    if why:
        say(
            f"cannot reach the exchange at {base_url} ({why}): there are no new prices until it"
            " answers; it is asked each minute. To see the tracker without it: ops/just demo"
        )


def _ask(base_url: str, trouble: Future[str]) -> None:
    """Any answer over HTTP will do; the future gets what went wrong, or nothing."""
    import httpx  # noqa: PLC0415  slow, and here there is time

    try:
        httpx.get(f"{base_url}/public/test", timeout=_PATIENCE)
        trouble.set_result("")
    except (httpx.HTTPError, OSError) as error:
        trouble.set_result(describe(error))
