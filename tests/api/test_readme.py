"""The commands and requests of the README work as it shows."""

import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.database import insert_minutes, minutes_from
from tests.support.recipes import run_recipe
from tracker.cli import main
from tracker.settings import CHECKOUT

pytestmark = pytest.mark.slow

README = (CHECKOUT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.split("\n")
]
COMMAND_LINES = [shlex.split(line) for line in COMMANDS if line.startswith("tracker ")]
REQUESTS = [shlex.split(line) for line in COMMANDS if line.startswith("curl ")]
RECIPES = {words.split()[0] for words in re.findall(r"ops/just ([a-z][^`\n]*)", README)}

# Each recipe, and the file that runs it.
RUN_BY = {
    "up": "embedded/test_demo.py",
    "demo": "embedded/test_demo.py",
    "psql": "embedded/test_demo.py",
    "dsn": "embedded/test_demo.py",
    "infra": "cli/test_recipes.py",
    "upgrade": "cli/test_recipes.py",
    "backup": "cli/test_recipes.py",
    "restore": "cli/test_recipes.py",
    "dev-web": "cli/test_recipes.py",
    "dev-worker": "cli/test_recipes.py",
    "down-infra": "cli/test_recipes.py",
    "simulate": "cli/test_recipes.py",
    "check-exchange": "recorder/test_exchange_check.py",
    "bench": "api/test_benchmark.py",
    "test": "../.ci/run",
    "check": "../.ci/run",
}


@pytest.fixture(autouse=True)
def _example_minutes(writer: psycopg.Connection) -> None:
    """The minutes of the README's examples."""
    start = datetime(2026, 11, 20, 9, 28, tzinfo=UTC)
    insert_minutes(writer, minutes_from(start, 5), price="103201.56")


def test_requests_of_the_readme_succeed(client: httpx.Client) -> None:
    assert len(REQUESTS) == 8
    for words in REQUESTS:
        path = words[-1].removeprefix("http://127.0.0.1:8000")
        with client.stream("GET", path) as response:  # one of them never ends
            assert response.status_code == (422 if "limit=0" in path else 200), path


def test_responses_match_the_readme(client: httpx.Client) -> None:
    price = client.get("/v1/prices/filtered?ticker=btc_usd&date=2026-11-20T09:30:41Z")
    shown = '{"id":1,"ticker":"btc_usd","price":"103201.56","created_at":"2026-11-20T09:30:00Z"}'
    assert shown in README
    assert price.text == shown.replace('"id":1', '"id":3')
    problem = client.get("/v1/prices?ticker=btc_usd&limit=0&page=2").json()
    for error in problem["errors"]:
        assert f'"name":"{error["name"]}","reason":"{error["reason"]}"' in README
    link = client.get("/v1/prices?ticker=btc_usd&start_date=2026-11-20T09:32:00Z&limit=2").links[
        "next"
    ]
    expected = link["url"].replace("&start_date=2026-11-20T09:32:00Z", "")
    assert f'link: <{expected}>; rel="next"' in README
    exported = client.get("/v1/prices/export?ticker=btc_usd&start_date=2026-11-20").text
    head, first, *_ = exported.split("\r\n")
    assert f"    {head}\n    {first}\n" in README


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_tables_match_the_readme(
    client: httpx.Client,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--format", "table", "--url", str(client.base_url)]
    monkeypatch.setattr(sys, "argv", [*words, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = "".join(f"    {line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())

    assert not ended.value.code
    assert f"```sh\n{' '.join(words)}\n```\n\n{printed}\n" in README


def test_recipes_of_the_readme_exist_and_are_tested(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    assert set(run_recipe("--summary", env=env).stdout.split()) >= RECIPES
    assert RUN_BY.keys() >= RECIPES
    for recipe, file in RUN_BY.items():
        assert recipe in (CHECKOUT / "tests" / file).read_text(), f"{file} does not run {recipe}"


def test_paths_of_the_readme_exist() -> None:
    for path in re.findall(r"`((?:tracker|sql|ops|tests)[a-z_/]*(?:\.py)?)`", README):
        assert (CHECKOUT / path).exists(), path
