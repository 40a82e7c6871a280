"""`tracker check-exchange`: a report on the exchange that a user can send to others."""

from datetime import UTC, datetime

from tracker import __version__
from tracker.recorder.check import CheckedCall, ExchangeCheck
from tracker.recorder.deribit import DeribitClient
from tracker.settings import Settings, hide_login


def check_exchange(settings: Settings, ticker: str | None) -> int:
    """Print a line for each request, and below it each difference; 1 if there is one, else 0.

    ticker: whose price and charts are checked; None: the first of TICKERS.
    """
    tickers = list(dict.fromkeys([*([ticker] if ticker else []), *settings.tickers]))
    network = "testnet" if settings.testnet else "production"
    print(f"tracker {__version__}, {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    with DeribitClient(settings.client_base_url, testnet=settings.testnet) as client:
        check = ExchangeCheck(client, tickers, testnet=settings.testnet)
        address = hide_login(settings.client_base_url)
        print(f"{address} ({network}), {check.ticker}\n", flush=True)
        calls = []
        for call in check.run():
            print(format_call(call), flush=True)
            calls.append(call)
    left_out = check.count - len(calls)
    different = sum(bool(call.differences) for call in calls)
    if left_out:
        print(f"\nthe exchange is unreachable; {left_out} requests were left out")
    if different:
        print(f"\n{different} of {len(calls)} responses differ from the documentation")
        return 1
    print(f"\nall {len(calls)} responses are as documented")
    return 0


def format_call(call: CheckedCall) -> str:
    """The line of a request, and an indented one for each difference."""
    verdict = "differs" if call.differences else "ok"
    line = f"{verdict:8}{call.name:31}{call.seconds * 1000:6.0f} ms  {call.found}".rstrip()
    return "\n".join([line, *(f"        - {difference}" for difference in call.differences)])
