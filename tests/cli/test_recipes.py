"""The recipes one by one, on a machine without Docker, with the embedded servers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.commands import start_tracker
from tests.support.recipes import TIMEOUT, recipe_environment, run_recipe, start_recipe
from tracker.simulator import running_simulator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def env(open_tmp: Path) -> Iterator[dict[str, str]]:
    """An environment whose `just infra` runs."""
    env = recipe_environment(open_tmp / "infra-home")
    started = run_recipe("infra", env=env)
    assert started.returncode == 0, started.stderr
    yield env
    assert run_recipe("down-infra", env=env).returncode == 0


def recipe_output(*words: str, env: dict[str, str]) -> str:
    done = run_recipe(*words, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_foreign_variables_of_python_do_not_matter(env: dict[str, str]) -> None:
    foreign = {
        "PYTHONEXECUTABLE": "/bin/true",
        "PYTHONIOENCODING": "nonsense",
        "PYTHONPLATLIBDIR": "nonsense",
        "PYTHONUTF8": "7",
    }
    assert recipe_output("dsn", env=env | foreign).startswith("host=/")


def test_infra_is_idempotent(env: dict[str, str]) -> None:
    """Running servers are not restarted."""
    before = recipe_output("psql", "-AtXc", "SELECT pg_postmaster_start_time()", env=env)
    recipe_output("infra", env=env)
    assert recipe_output("psql", "-AtXc", "SELECT pg_postmaster_start_time()", env=env) == before


def test_downgrade_can_be_upgraded(env: dict[str, str]) -> None:
    """The schema goes up, down to a revision, and up again."""
    recipe_output("upgrade", env=env)
    assert recipe_output("upgrade", env=env) == "the database is up to date"
    assert "rolled back 0003.derived" in recipe_output("downgrade", "rev=2", env=env)
    assert "applied 0003.derived" in recipe_output("upgrade", env=env)
    row = "INSERT INTO prices (ticker, created_at, price) VALUES ('btc_usd', '2024-01-15Z', 1.25)"
    recipe_output("psql", "-Xc", row, env=env)
    refused = run_recipe("downgrade", "rev=0", env=env)
    assert refused.returncode == 1
    assert re.fullmatch(
        r"tracker: rev: a rollback to 0 drops \d+ rows, 1 of prices, .*force=1\)\n", refused.stderr
    )
    assert "0001.timescaledb" in recipe_output("downgrade", "rev=0", "force=1", env=env)
    wrong = run_recipe("downgrade", "rev=9999", env=env)
    assert wrong.returncode == 1
    assert "unknown migration '9999'" in wrong.stderr


def test_backup_can_be_restored(env: dict[str, str], open_tmp: Path) -> None:
    """Files are relative to the working directory; another database receives the backup."""
    env = env | {"POSTGRES_DB": "saved"}
    folder = open_tmp / "backups"
    folder.mkdir()
    recipe_output("infra", env=env)
    recipe_output("upgrade", env=env)
    saved = run_recipe("backup", env=env, cwd=folder)
    [file] = folder.glob("saved-20??????T??????Z.zip")
    assert saved.stdout == f"wrote 0 prices and 0 misses of 0 indexes to {file.name}\n"
    again = run_recipe("restore", file.name, env=env | {"POSTGRES_DB": "again"}, cwd=folder)
    assert again.stdout.startswith("restored 0 prices and 0 misses of 0 indexes;"), again.stderr
    assert recipe_output("timescale-upgrade", env=env) == "TimescaleDB is 2.19.3 already"


def test_dev_web_and_dev_worker_record_and_serve(env: dict[str, str]) -> None:
    """Together they do the same as `up`, with servers that run already."""
    recipe_output("upgrade", env=env)
    with running_simulator() as exchange:
        home = Path(env["TRACKER_HOME"])
        with (
            start_recipe("dev-web", home) as web,
            start_recipe("dev-worker", home, CLIENT_BASE_URL=exchange.url) as worker,
        ):
            worker.wait_until(lambda: web.responds("/prices/last?ticker=btc_usd"))
            worker.wait_until(lambda: web.responds("/health/ready"))


def test_debug_web_listens_for_debugger(env: dict[str, str]) -> None:
    """The API is served, and debugpy listens on 5678."""
    dry = run_recipe("--dry-run", "debug-web", env=env)
    assert "--listen 127.0.0.1:5678 -m tracker web" in dry.stderr


def test_migrate_passes_message(env: dict[str, str]) -> None:
    """With and without `msg=`."""
    for words in (["msg=add a column"], ["add a column"]):
        assert (
            'new-migration "${1#msg=}"'
            in run_recipe("--dry-run", "migrate", *words, env=env).stderr
        )


def test_simulate_serves_exchange(open_tmp: Path) -> None:
    """It needs no other service, and listens on SIMULATOR_PORT."""
    with start_recipe("simulate", open_tmp / "simulate-home") as simulator:
        url = f"http://127.0.0.1:{simulator.env['SIMULATOR_PORT']}/api/v2/public/test"
        simulator.wait_until(lambda: "simulated exchange at" in simulator.output())
        assert httpx.get(url).json()["result"]["version"]


def test_down_stops_demo_that_last_finds(open_tmp: Path) -> None:
    """Whatever its port is; its exit status is 0."""
    with start_recipe("demo", open_tmp / "down-home") as demo:
        demo.wait_until(lambda: demo.responds("/tickers"))
        here = {name: value for name, value in demo.env.items() if name != "WEB_PORT"}
        with start_tracker("last", "--format=json", env=here) as process:
            output, errors = process.communicate(timeout=TIMEOUT)
        assert process.returncode in {0, 3}, errors
        assert isinstance(json.loads(output), list)
        assert errors.startswith("this is the demo's API: its prices are synthetic\n")
        assert demo.just("down").stdout == "stopped\n"
        assert demo.process.wait(20) == 0


def test_psql_reads_files_of_working_directory(env: dict[str, str], open_tmp: Path) -> None:
    (open_tmp / "one.sql").write_text("SELECT 41 + 1;")
    done = run_recipe("psql", "-AtXf", "one.sql", env=env, cwd=open_tmp)
    assert done.stdout.strip() == "42"
