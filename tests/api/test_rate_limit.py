"""Requests are counted per client in Redis, by all processes; without Redis nobody is limited."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from tests.support.api import error_reasons, read_metric, run_web, serve_api
from tests.support.database import insert_minutes, make_settings, minutes_from
from tests.support.logs import capture_log
from tests.support.processes import pause_process
from tests.support.stream import open_stream
from tests.support.waiting import wait_until
from tracker.embedded.home import running_servers
from tracker.embedded.servers import Redis as Server
from tracker.settings import Settings
from tracker.web.rate_limit import client_of

PATH = "/udf/config"  # it needs no database
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HEADERS = ("ratelimit", "ratelimit-policy")
NO_PROXIES = ()


@pytest.fixture(scope="module")
def counter(servers: Settings) -> Iterator[Settings]:
    """Settings with a separate Redis."""
    home = servers.home.parent / "counter"
    with running_servers(make_settings(home, postgres_host="127.0.0.1"), durable=False) as _:
        socket = make_settings(home).sockets / "redis.sock"
        yield servers.changed(redis_host=str(socket), trusted_proxies=NO_PROXIES)


@pytest.fixture(scope="module")
def proxied(counter: Settings) -> Iterator[httpx.Client]:
    """A client of an API that trusts it as a proxy and serves each client once."""
    proxies = ("127.0.0.1", "10.0.0.0/8")
    with serve_api(counter.changed(rate_limit="1/minute", trusted_proxies=proxies)) as client:
        yield client


@pytest.fixture(autouse=True)
def flush_counts(request: pytest.FixtureRequest) -> None:
    """No request is counted yet."""
    if {"counter", "proxied"} & set(request.fixturenames):
        with connect_redis(request.getfixturevalue("counter")) as redis:
            redis.flushall()


def connect_redis(settings: Settings, database: int = 0) -> Redis:
    """A client of that Redis."""
    return Redis(unix_socket_path=settings.redis_host, db=database)


def fetch_statuses(client: httpx.Client, count: int, **headers: str) -> list[int]:
    """The statuses of *count* consecutive requests."""
    return [client.get(PATH, headers=headers).status_code for _ in range(count)]


def remaining(response: httpx.Response) -> int:
    """The number of remaining requests in *response*."""
    return int(response.headers["ratelimit"].split(";")[1].removeprefix("r="))


def test_api_without_a_limit_does_not_connect_to_redis(servers: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as redis:
        host, port = redis.getsockname()
        with serve_api(servers.changed(redis_host=host, redis_port=port)) as client:
            responses = [client.get(PATH) for _ in range(3)]
        redis.settimeout(0)
        with pytest.raises(BlockingIOError):
            redis.accept()

    assert {response.status_code for response in responses} == {200}
    assert not any(set(HEADERS) & set(response.headers) for response in responses)


def test_responses_report_the_remaining_requests(counter: Settings) -> None:
    with serve_api(counter.changed(rate_limit="3/minute")) as client:
        responses = [client.get(path) for path in (PATH, "/v1" + PATH, "/prices")]
        refused = client.get(PATH, headers={"Origin": "https://a.example"})
        head = client.head(PATH)

    assert [response.status_code for response in responses] == [200, 200, 422]
    counts = [
        response.headers["ratelimit"].partition(";t=")[0] for response in [*responses, refused]
    ]
    assert counts == [f'"client";r={n}' for n in (2, 1, 0, 0)]
    seconds = int(refused.headers["retry-after"])
    assert refused.headers["ratelimit"] == f'"client";r=0;t={seconds}'
    assert {each.headers["ratelimit-policy"] for each in [*responses, refused, head]} == {
        '"client";q=3;w=60'
    }
    assert error_reasons(refused, 429) == {
        "client": "has made too many requests: the limit is 3 requests in 60 seconds"
    }
    assert 0 < seconds <= 60
    assert "RateLimit-Policy" in refused.headers["access-control-expose-headers"]
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert (head.status_code, head.content) == (429, b"")


def test_limit_applies_under_every_prefix(counter: Settings) -> None:
    roots = ("", "/v1", "/outer", "/outer/v1")
    with serve_api(counter.changed(rate_limit="9/minute", web_root_path="/outer")) as client:
        responses = [client.get(root + path) for root in roots for path in (PATH, "/docs")]
    limited = [HEADERS[0] in response.headers for response in responses]
    assert limited == [True, False] * len(roots)


def test_client_is_served_after_retry_after(counter: Settings) -> None:
    with serve_api(counter.changed(rate_limit="2 per 1 second")) as client:
        until = time.monotonic() + 20
        while (response := client.get(PATH)).status_code == 200:
            assert time.monotonic() < until
        time.sleep(int(response.headers["retry-after"]))
        assert client.get(PATH).status_code == 200


def test_health_pages_and_preflights_are_not_counted(counter: Settings) -> None:
    paths = ["/health/live", "/health/state", "/metrics", "/openapi.json", "/", "/docs"]
    paths += ["/problems", "/page/style.css"]
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    with serve_api(counter.changed(rate_limit="1/hour")) as client:
        assert fetch_statuses(client, 2) == [200, 429]
        responses = [client.get(prefix + path) for prefix in ("", "/v1") for path in paths]
        preflighted = client.options(PATH, headers=preflight)
        other = client.options(PATH)  # as a preflight of an origin that may not read
        counted = client.get("/metrics").text

    assert {response.status_code for response in responses} == {200}
    assert not any(set(HEADERS) & set(response.headers) for response in responses)
    assert (preflighted.status_code, other.status_code) == (204, 204)
    assert 'tracker_http_requests_total{endpoint="none",method="GET",status="429"} 1.0' in counted


def test_counted_paths_are_documented(counter: Settings) -> None:
    with serve_api(counter.changed(rate_limit="1/hour")) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert PATH in paths
        client.get(PATH)
        for path, item in paths.items():
            refused = client.head(path.replace("{name}", "style.css")).status_code == 429
            assert refused == ("429" in item["get"]["responses"]), path
            assert refused == ("RateLimit" in item["get"]["responses"]["200"]["headers"])


def test_addresses_are_counted_separately(counter: Settings) -> None:
    with serve_api(counter.changed(rate_limit="2/minute")) as client:
        assert fetch_statuses(client, 3) == [200, 200, 429]
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=client.base_url, transport=elsewhere) as other:
            assert fetch_statuses(other, 3) == [200, 200, 429]


def test_forwarded_address_of_an_untrusted_client_is_ignored(counter: Settings) -> None:
    with serve_api(
        counter.changed(rate_limit="2/minute", trusted_proxies=("10.0.0.0/8",))
    ) as client:
        statuses = [
            fetch_statuses(client, 1, **{"X-Forwarded-For": f"1.1.1.{n}"}) for n in range(3)
        ]
    assert statuses == [[200], [200], [429]]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("1.1.1.1", "1.1.1.2", False),
        ("1.1.1.1", "9.9.9.9, 1.1.1.1", True),
        ("1.1.1.1, 10.1.2.3", "9.9.9.9, 1.1.1.1, 127.0.0.1", True),
        ("1.1.1.1, 9.9.9.9", "1.1.1.1", False),
        ("1.1.1.1", "::ffff:1.1.1.1", True),
        ("1.1.1.1:80", "1.1.1.1:81", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "[2001:db8:1:2::7]:443", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("unknown", "<script>" + "a" * 5000, True),
    ],
)
def test_forwarded_address_of_a_trusted_proxy_is_counted(
    proxied: httpx.Client, first: str, second: str, *, same: bool
) -> None:
    """The last address that is no proxy's; in IPv6, its network."""
    statuses = [
        fetch_statuses(proxied, 1, **{"X-Forwarded-For": each})[0] for each in (first, second)
    ]
    assert statuses == [200, 429 if same else 200]


@given(st.none() | st.tuples(st.ip_addresses().map(str) | st.text(), st.just(0)))
def test_client_name_is_an_address_or_unknown(client: tuple[str, int] | None) -> None:
    """The IPv4 address, or the first of the IPv6 network."""
    name = client_of({"client": client})

    if name != "unknown":
        assert client
        address, network = ip_address(client[0]), ip_address(name)
        if isinstance(address, IPv6Address) and not address.ipv4_mapped:
            assert int(network) == int(address) >> 64 << 64
        else:
            assert network in {address, getattr(address, "ipv4_mapped", None)}


def test_stream_counts_once(counter: Settings, base: Settings, writer: psycopg.Connection) -> None:
    limited = base.changed(redis_host=counter.redis_host, rate_limit="2/hour")
    with serve_api(limited) as client, open_stream(client.base_url, "btc_usd") as stream:
        insert_minutes(writer, minutes_from(NOON, 5))
        assert len(stream.take(5)) == 5
        assert fetch_statuses(client, 2) == [200, 429]


def test_counts_expire_in_their_own_database(counter: Settings) -> None:
    with serve_api(counter.changed(rate_limit="5 per 10 seconds", redis_db=3)) as client:
        wait_until(lambda: 429 in fetch_statuses(client, 6))
    with (
        connect_redis(counter, 3) as limited,
        connect_redis(counter, counter.redis_celery_broker_db) as queue,
    ):
        keys = limited.keys()
        assert [key.startswith(b"tracker:requests:") for key in keys] == [True]
        assert all(0 < limited.ttl(key) <= 20 for key in keys)
        assert limited.memory_usage(keys[0]) < 300
        assert set(limited.info("keyspace")) == {"db3"}
        queue.set("message", "1")
        limited.flushdb()
        assert queue.get("message") == b"1"


@pytest.mark.parametrize("window", ["previous", "current"])
def test_count_of_clock_that_was_ahead_expires(counter: Settings, window: str) -> None:
    """Redis' clock was set back by 400 days: every expiry is that much later."""
    with (
        serve_api(counter.changed(rate_limit="2 per 2 seconds")) as client,
        connect_redis(counter) as redis,
    ):
        assert fetch_statuses(client, 3) == [200, 200, 429]
        [key] = redis.keys("tracker:requests:*")
        if window == "previous":
            redis.rename(key, key := key + b"/-1")
        assert redis.expire(key, 400 * 86_400)
        assert fetch_statuses(client, 3) == [200, 200, 429]


@pytest.mark.slow
def test_processes_count_together(counter: Settings) -> None:
    """A request that waits for Redis in vain, on a busy machine, is served as well."""
    limited = counter.changed(rate_limit="20/hour")
    with (
        serve_api(limited) as here,
        run_web(limited) as (_, there),
        ThreadPoolExecutor(4) as threads,
    ):
        clients = [here, there] * 25
        statuses = list(threads.map(lambda client: fetch_statuses(client, 1)[0], clients))
        name = "tracker_http_requests_uncounted_total"
        uncounted = sum(read_metric(client, name) for client in (here, there))
    assert 20 <= statuses.count(200) <= 20 + uncounted
    assert statuses.count(429) == 50 - statuses.count(200)


def test_without_redis_requests_are_not_limited(counter: Settings) -> None:
    """Redis' absence is logged once; requests are counted when it is available."""
    home = counter.home.parent / "late"
    unstarted = make_settings(home, postgres_host="127.0.0.1")
    redis_host = str(unstarted.sockets / "redis.sock")
    with (
        capture_log("INFO", "{message}") as logged,
        serve_api(counter.changed(rate_limit="2/hour", redis_host=redis_host)) as client,
    ):
        started_at = time.monotonic()
        responses = [client.get(PATH) for _ in range(50)]
        assert time.monotonic() - started_at < 10
        assert {response.status_code for response in responses} == {200}
        assert not any(set(HEADERS) & set(response.headers) for response in responses)
        assert "tracker_http_requests_uncounted_total 50.0" in client.get("/metrics").text
        with running_servers(unstarted, durable=False):
            wait_until(lambda: client.get(PATH).status_code == 429)

    messages = [line for line in logged if line.startswith("requests are")]
    assert [line.partition(",")[0].strip() for line in messages] == [
        "requests are not limited",
        "requests are limited again",
    ]


def test_unresponsive_redis_delays_few_requests(counter: Settings) -> None:
    home = counter.home.parent / "counter"
    server = Server(make_settings(home, postgres_host="127.0.0.1"))
    with serve_api(counter.changed(rate_limit="1000/hour")) as client:
        assert fetch_statuses(client, 2) == [200, 200]
        with pause_process(server.pid()):
            latencies = [client.get(PATH).elapsed.total_seconds() for _ in range(50)]
        assert sum(latencies) < 10
        assert sorted(latencies)[25] < 0.2  # most did not wait for it
        wait_until(lambda: "ratelimit" in client.get(PATH).headers)
        with ThreadPoolExecutor(4) as threads:
            responses = list(threads.map(lambda _: client.get(PATH), range(40)))
        counts = [remaining(each) for each in responses if "ratelimit" in each.headers]
        assert (
            max(counts) - min(counts) >= len(counts) - 4
        )  # others took some between count and answer
        assert remaining(client.get(PATH)) < min(counts)


def test_full_redis_limits_nobody(counter: Settings) -> None:
    with connect_redis(counter) as redis, serve_api(counter.changed(rate_limit="1/hour")) as client:
        redis.config_set("maxmemory", "1")
        try:
            statuses = fetch_statuses(client, 3)
        finally:
            redis.config_set("maxmemory", "0")
    assert statuses == [200, 200, 200]
