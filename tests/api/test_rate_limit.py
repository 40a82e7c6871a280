"""Requests are counted for each client: in Redis, by every process, and never to anyone's harm."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from redis import Redis

from ops.bench.processes import free_ports
from tests.support.servers import make_settings
from tests.support.serving import problem, served
from tests.support.streaming import following
from tests.support.working import wait_for
from tracker.embedded.home import started
from tracker.embedded.servers import Redis as Server
from tracker.settings import Settings
from tracker.web.rate_limit import client_of

COUNTED = "/udf/config"  # no database is asked for it
TOLD = ("ratelimit", "ratelimit-policy")
NOBODY = ()


@pytest.fixture(scope="module")
def counter(servers: Settings) -> Iterator[Settings]:
    """The session's database, and a Redis of this file's own."""
    home = servers.home.parent / "counter"
    with started(make_settings(home, postgres_host="127.0.0.1"), durable=False) as _:
        socket = make_settings(home).sockets / "redis.sock"
        yield servers.changed(redis_host=str(socket), trusted_proxies=NOBODY)


@pytest.fixture(scope="module")
def proxied(counter: Settings) -> Iterator[httpx.Client]:
    """A client of an API that takes it for a proxy, and serves each client once."""
    proxies = ("127.0.0.1", "10.0.0.0/8")
    with served(counter.changed(rate_limit="1/minute", trusted_proxies=proxies)) as client:
        yield client


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    """Nobody has asked for anything yet."""
    if {"counter", "proxied"} & set(request.fixturenames):
        with store(request.getfixturevalue("counter")) as redis:
            redis.flushall()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What is logged, from warnings on."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="INFO")
    yield lines
    logger.remove(sink)


def store(settings: Settings, database: int = 0) -> Redis:
    """A client of that Redis."""
    return Redis(unix_socket_path=settings.redis_host, db=database)


def statuses(client: httpx.Client, count: int, **headers: str) -> list[int]:
    """What *count* requests on end are answered with."""
    return [client.get(COUNTED, headers=headers).status_code for _ in range(count)]


def left_in(answer: httpx.Response) -> int:
    """How many requests it says are left."""
    return int(answer.headers["ratelimit"].split(";")[1].removeprefix("r="))


def test_api_without_a_limit_asks_no_redis(servers: Settings) -> None:
    """Nothing of it is there then: no connection to Redis, and no header in a response."""
    with socket.create_server(("127.0.0.1", 0)) as redis:
        host, port = redis.getsockname()
        with served(servers.changed(redis_host=host, redis_port=port)) as client:
            answers = [client.get(COUNTED) for _ in range(3)]
        redis.settimeout(0)
        with pytest.raises(BlockingIOError):
            redis.accept()

    assert {answer.status_code for answer in answers} == {200}
    assert not any(set(TOLD) & set(answer.headers) for answer in answers)


def test_a_client_is_told_what_it_has_left(counter: Settings) -> None:
    """With each answer; then it is refused, and told when to come back."""
    with served(counter.changed(rate_limit="3/minute")) as client:
        answers = [client.get(path) for path in (COUNTED, "/v1" + COUNTED, "/prices")]
        refused = client.get(COUNTED, headers={"Origin": "https://a.example"})
        head = client.head(COUNTED)

    assert [answer.status_code for answer in answers] == [200, 200, 422]
    left = [answer.headers["ratelimit"].partition(";t=")[0] for answer in [*answers, refused]]
    assert left == [f'"client";r={n}' for n in (2, 1, 0, 0)]
    seconds = int(refused.headers["retry-after"])
    assert refused.headers["ratelimit"] == f'"client";r=0;t={seconds}'
    assert {each.headers["ratelimit-policy"] for each in [*answers, refused, head]} == {
        '"client";q=3;w=60'
    }
    assert problem(refused, 429) == {
        "client": "has made too many requests: the limit is 3 requests in 60 seconds"
    }
    assert 0 < seconds <= 60
    assert "RateLimit-Policy" in refused.headers["access-control-expose-headers"]
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert (head.status_code, head.content) == (429, b"")


def test_who_comes_back_when_told_is_served(counter: Settings) -> None:
    """Retry-After is true."""
    with served(counter.changed(rate_limit="2 per 1 second")) as client:
        until = time.monotonic() + 20
        while (answer := client.get(COUNTED)).status_code == 200:
            assert time.monotonic() < until
        time.sleep(int(answer.headers["retry-after"]))
        assert client.get(COUNTED).status_code == 200


def test_operators_and_pages_are_not_counted(counter: Settings) -> None:
    """They are served to whoever has nothing left; permissions are asked for beforehand."""
    paths = ["/health/live", "/health/state", "/metrics", "/openapi.json", "/", "/docs"]
    paths += ["/problems", "/page/style.css"]
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    with served(counter.changed(rate_limit="1/hour")) as client:
        assert statuses(client, 2) == [200, 429]
        answers = [client.get(prefix + path) for prefix in ("", "/v1") for path in paths]
        permission = client.options(COUNTED, headers=asking)
        counted = client.get("/metrics").text

    assert {answer.status_code for answer in answers} == {200}
    assert not any(set(TOLD) & set(answer.headers) for answer in answers)
    assert permission.status_code == 204
    assert 'tracker_http_requests_total{endpoint="none",method="GET",status="429"} 1.0' in counted


def test_what_is_counted_is_described(counter: Settings) -> None:
    """429 stands at the paths that count, and at no other."""
    with served(counter.changed(rate_limit="1/hour")) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert COUNTED in paths
        client.get(COUNTED)
        for path, item in paths.items():
            refused = client.head(path.replace("{name}", "style.css")).status_code == 429
            assert refused == ("429" in item["get"]["responses"]), path
            assert refused == ("RateLimit" in item["get"]["responses"]["200"]["headers"])


def test_each_address_is_counted_by_itself(counter: Settings) -> None:
    """One client's requests are not another's."""
    with served(counter.changed(rate_limit="2/minute")) as client:
        assert statuses(client, 3) == [200, 200, 429]
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=client.base_url, transport=elsewhere) as other:
            assert statuses(other, 3) == [200, 200, 429]


def test_what_a_stranger_says_of_others_is_not_believed(counter: Settings) -> None:
    """Whoever is no proxy of ours is counted by its own address."""
    with served(counter.changed(rate_limit="2/minute", trusted_proxies=("10.0.0.0/8",))) as client:
        found = [statuses(client, 1, **{"X-Forwarded-For": f"1.1.1.{n}"}) for n in range(3)]
    assert found == [[200], [200], [429]]


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
def test_what_a_proxy_says_of_its_clients_is(
    proxied: httpx.Client, first: str, second: str, *, same: bool
) -> None:
    """The last address that is no proxy's counts; in IPv6, its network."""
    found = [statuses(proxied, 1, **{"X-Forwarded-For": each})[0] for each in (first, second)]
    assert found == [200, 429 if same else 200]


@given(st.none() | st.tuples(st.ip_addresses().map(str) | st.text(), st.just(0)))
def test_every_client_has_a_short_name(client: tuple[str, int] | None) -> None:
    """Its IPv4 address, the first of its IPv6 network, or that nobody knows it."""
    name = client_of({"client": client})

    if name != "unknown":
        assert client
        address, network = ip_address(client[0]), ip_address(name)
        if isinstance(address, IPv6Address) and not address.ipv4_mapped:
            assert int(network) == int(address) >> 64 << 64
        else:
            assert network in {address, getattr(address, "ipv4_mapped", None)}


def test_a_stream_counts_once(
    counter: Settings, base: Settings, writer: psycopg.Connection
) -> None:
    """When it opens, whatever then comes."""
    ours = base.changed(redis_host=counter.redis_host, rate_limit="2/hour")
    with served(ours) as client, following(client.base_url, "btc_usd") as stream:
        for minute in range(5):
            writer.execute(
                "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, %s)",
                [f"2024-01-15 12:0{minute}Z"],
            )
        assert len(stream.take(5)) == 5
        assert statuses(client, 2) == [200, 429]


def test_what_is_counted_expires(counter: Settings) -> None:
    """In the app's own database, short-lived every key: the queue's is not touched."""
    with served(counter.changed(rate_limit="5 per 10 seconds", redis_db=3)) as client:
        assert statuses(client, 6)[-1] == 429
    with store(counter, 3) as ours, store(counter, counter.redis_celery_broker_db) as queue:
        keys = ours.keys()
        assert [key.startswith(b"tracker:requests:") for key in keys] == [True]
        assert all(0 < ours.ttl(key) <= 20 for key in keys)
        assert ours.memory_usage(keys[0]) < 300
        assert set(ours.info("keyspace")) == {"db3"}
        queue.set("message", "1")
        ours.flushdb()
        assert queue.get("message") == b"1"


@pytest.mark.slow
def test_processes_count_together(counter: Settings) -> None:
    """As many are served by two of them as by one, whoever comes first."""
    ours = counter.changed(rate_limit="20/hour")
    with served(ours) as here, process(ours) as url, httpx.Client(base_url=url) as there:
        wait_for(lambda: alive(there))
        with ThreadPoolExecutor(4) as threads:
            asked = [here, there] * 25
            found = list(threads.map(lambda client: statuses(client, 1)[0], asked))
    assert sorted(found) == [200] * 20 + [429] * 30


@contextmanager
def process(settings: Settings) -> Iterator[str]:
    """The API in a process of its own: its URL, perhaps before it is served."""
    [port] = free_ports(1)
    env = settings.changed(web_port=port).environment()
    with subprocess.Popen([sys.executable, "-m", "tracker", "web"], env=env) as running:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()


def alive(client: httpx.Client) -> bool:
    """Whether the API answers."""
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_without_redis_everyone_is_served(counter: Settings, told: list[str]) -> None:
    """At once, and it is said once; when Redis comes, requests are counted."""
    home = counter.home.parent / "late"
    late = make_settings(home, postgres_host="127.0.0.1")
    redis_host = str(late.sockets / "redis.sock")
    with served(counter.changed(rate_limit="2/hour", redis_host=redis_host)) as client:
        begun = time.monotonic()
        answers = [client.get(COUNTED) for _ in range(50)]
        assert time.monotonic() - begun < 10
        assert {answer.status_code for answer in answers} == {200}
        assert not any(set(TOLD) & set(answer.headers) for answer in answers)
        assert "tracker_http_requests_uncounted_total 50.0" in client.get("/metrics").text
        with started(late, durable=False):
            wait_for(lambda: client.get(COUNTED).status_code == 429)

    said = [line for line in told if line.startswith("requests are")]
    assert [line.partition(",")[0].strip() for line in said] == [
        "requests are not limited",
        "requests are limited again",
    ]


def test_a_redis_that_stands_still_holds_up_nobody(counter: Settings) -> None:
    """One request in a while waits for it, and not for long; afterwards all is as before."""
    home = counter.home.parent / "counter"
    server = Server(make_settings(home, postgres_host="127.0.0.1"))
    pid = server.pid()
    assert pid
    with served(counter.changed(rate_limit="1000/hour")) as client:
        assert statuses(client, 2) == [200, 200]
        os.kill(pid, signal.SIGSTOP)
        try:
            waits = [client.get(COUNTED).elapsed.total_seconds() for _ in range(50)]
        finally:
            os.kill(pid, signal.SIGCONT)
        assert sum(waits) < 10
        assert sorted(waits)[25] < 0.2  # most did not wait for it
        wait_for(lambda: "ratelimit" in client.get(COUNTED).headers, 20)
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: client.get(COUNTED), range(40)))
        left = [left_in(each) for each in answers if "ratelimit" in each.headers]
        assert max(left) - min(left) >= len(left) - 4  # others took some between count and answer
        assert left_in(client.get(COUNTED)) < min(left)


def test_a_redis_that_takes_no_more_is_as_if_away(counter: Settings) -> None:
    """Its memory is full: nobody is refused for that."""
    with store(counter) as redis, served(counter.changed(rate_limit="1/hour")) as client:
        redis.config_set("maxmemory", "1")
        try:
            found = statuses(client, 3)
        finally:
            redis.config_set("maxmemory", "0")
    assert found == [200, 200, 200]
