"""What a user writes with the client that openapi-python-client generates; __main__.py runs it."""

import sys
from datetime import UTC, datetime, timedelta

from deribit_price_tracker_client import Client
from deribit_price_tracker_client.api.prices import (
    export_prices,
    get_filtered_price,
    get_last_price,
    list_candles,
    list_coverage,
    list_gaps,
    list_latest_prices,
    list_prices,
    list_prices_at,
    list_tickers,
)
from deribit_price_tracker_client.api.service import get_metrics, get_readiness, get_state
from deribit_price_tracker_client.api.udf import get_udf_history, get_udf_symbol
from deribit_price_tracker_client.models import (
    GetUdfHistoryResolution,
    ListCandlesInterval,
    ListPricesIncludeItem,
    ListPricesOrder,
    Price,
    Problem,
    Readiness,
    ServiceState,
    Source,
    UdfBars,
    UdfSymbol,
)

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
TEN = NOON + timedelta(minutes=10)

client = Client(base_url=sys.argv[1])

prices = list_prices.sync(
    client=client,
    ticker="btc_usd",
    start_date=NOON,
    end_date=TEN,
    order=ListPricesOrder.ASC,
    limit=6,
    include=[ListPricesIncludeItem.SOURCE, ListPricesIncludeItem.OBSERVED_AT],
)
assert isinstance(prices, list)
assert [price.price for price in prices] == [f"10{minute}.50" for minute in range(6)]
assert [price.created_at for price in prices] == [NOON + timedelta(minutes=n) for n in range(6)]
assert [price.source for price in prices] == [*[Source.POLL] * 5, Source.CHART]
assert [price.observed_at for price in prices] == [None] * 6

response = list_prices.sync_detailed(client=client, ticker="btc_usd", end_date=TEN, limit=1)
assert 'rel="next"' in response.headers["link"]

last = get_last_price.sync(client=client, ticker="btc_usd")
assert isinstance(last, Price)
assert datetime.now(UTC) - last.created_at < timedelta(minutes=5)

latest = list_latest_prices.sync(client=client)
assert isinstance(latest, list)
assert [price.ticker for price in latest] == ["btc_usd", "eth_usd"]
date = NOON + timedelta(minutes=7, seconds=30)
at = list_prices_at.sync_detailed(
    client=client, ticker=["eth_usd", "btc_usd"], date=date, tolerance=100
)
assert isinstance(at.parsed, list)
assert [(price.ticker, price.price) for price in at.parsed] == [("btc_usd", "106.50")]
assert at.headers["missing"] == "eth_usd"

nearest = get_filtered_price.sync(
    client=client, ticker="btc_usd", date=NOON + timedelta(minutes=7, seconds=30), tolerance=100
)
assert isinstance(nearest, Price)
assert nearest.price == "106.50"
missing = get_filtered_price.sync(client=client, ticker="btc_usd", date=NOON + timedelta(minutes=7))
assert isinstance(missing, Problem)
assert (missing.status, missing.errors[0].name) == (404, "date")

invalid = list_prices.sync(client=client, ticker="btc_usd", limit=0)
assert isinstance(invalid, Problem)
assert [error.name for error in invalid.errors] == ["limit"]
unknown = list_prices.sync(client=client, ticker="nope_usd")
assert isinstance(unknown, Problem)
assert [error.name for error in unknown.errors] == ["ticker"]

candles = list_candles.sync(
    client=client,
    ticker="btc_usd",
    interval=ListCandlesInterval.MINUTE_5,
    tz="Europe/Berlin",
    start_date=NOON,
    end_date=TEN,
)
assert isinstance(candles, list)
assert [(each.open_, each.close, each.samples) for each in candles] == [
    ("105.50", "109.50", 3),
    ("100.50", "104.50", 5),
]

gaps = list_gaps.sync(client=client, ticker="btc_usd", start_date=NOON, end_date=TEN)
assert isinstance(gaps, list)
assert [(gap.from_, gap.minutes, gap.reason) for gap in gaps] == [
    (NOON + timedelta(minutes=7), 2, "not_polled")
]

coverage = list_coverage.sync(client=client, ticker="btc_usd", start_date=NOON, end_date=TEN)
assert isinstance(coverage, list)
assert [(hour.polled, hour.chart, hour.missing, hour.ratio) for hour in coverage] == [
    (7, 1, 2, 0.8)
]

tickers = list_tickers.sync(client=client)
assert isinstance(tickers, list)
assert [ticker.ticker for ticker in tickers] == ["btc_usd", "eth_usd"]
assert (tickers[0].base, tickers[0].quote, tickers[0].decimals) == ("BTC", "USD", 2)
first = tickers[0].first
assert first is not None
assert (first.price, first.created_at) == ("100.50", NOON)

exported = export_prices.sync(client=client, ticker="btc_usd", start_date=NOON, end_date=TEN)
assert isinstance(exported, str)
lines = exported.splitlines()
assert lines[0] == "id,ticker,price,created_at"
assert [line.split(",")[2] for line in lines[1:]] == [f"10{minute}.50" for minute in (*range(7), 9)]

bars = get_udf_history.sync(
    client=client,
    symbol="BTC_USD",
    resolution=GetUdfHistoryResolution.MINUTE_1,
    from_=NOON.timestamp(),
    to=TEN.timestamp(),
)
assert isinstance(bars, UdfBars)
assert bars.c == [float(f"10{minute}.5") for minute in (*range(7), 9)]
symbol = get_udf_symbol.sync(client=client, symbol="BTC_USD")
assert isinstance(symbol, UdfSymbol)
assert symbol.ticker == "btc_usd"

ready = get_readiness.sync(client=client)
assert isinstance(ready, Readiness)
assert {index.ticker for index in ready.prices} == {"btc_usd", "eth_usd"}
state = get_state.sync(client=client)
assert isinstance(state, ServiceState)
assert {part.name.value for part in state.parts} >= {"database", "scheduler", "worker"}
metrics = get_metrics.sync(client=client)
assert isinstance(metrics, str)
assert "tracker_http_requests_total" in metrics
