"""Each file of sql/examples returns to an analyst what plain Python computes."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import run_psql
from tests.support.database import insert_minutes, login
from tests.support.examples import DAY, FILES, MODELS, NOW, assert_same_rows, insert_example_prices
from tracker.settings import CHECKOUT, Settings


@pytest.fixture(scope="module")
def filled(base: Settings) -> Settings:
    """Known prices of two indexes."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        insert_example_prices(conn)
        conn.execute("VACUUM ANALYZE")
    return base


@pytest.fixture
def analyst(filled: Settings) -> Iterator[psycopg.Connection]:
    with login(filled, "analyst") as conn:
        yield conn


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_example_returns_what_python_computes(analyst: psycopg.Connection, file: Path) -> None:
    with analyst.transaction():
        [(now,)] = analyst.execute("SELECT now()").fetchall()
        found = analyst.execute(file.read_bytes()).fetchall()

    assert_same_rows(found, MODELS[file.stem](now))


def test_every_example_has_a_model() -> None:
    assert {file.stem for file in FILES} == MODELS.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_example_is_one_statement_below_its_question(
    analyst: psycopg.Connection, file: Path
) -> None:
    text = file.read_text()
    question = text.partition("?")[0].splitlines()
    analyst.execute(text, prepare=True)

    assert text.startswith("-- ")
    assert all(line.startswith("-- ") for line in question)


# Their moments have prices as of earlier ones, whose chunk only the row tells.
AS_OF = {"filled_ratio", "trades_as_of"}
BOUNDED = [file for file in FILES if file.stem not in AS_OF]


@pytest.mark.parametrize("file", BOUNDED, ids=lambda file: file.stem)
def test_example_excludes_chunks_outside_its_window(
    with_old_chunks: psycopg.Connection, file: Path
) -> None:
    found = with_old_chunks.execute(b"EXPLAIN " + file.read_bytes()).fetchall()
    chunks = set(re.findall(r"_hyper_\w+?_chunk", "\n".join(line for (line,) in found)))
    assert chunks <= recent_chunks(with_old_chunks)


@pytest.fixture(scope="module")
def with_old_chunks(filled: Settings) -> Iterator[psycopg.Connection]:
    """A connection that also has prices of ten years ago and in ten years."""
    with psycopg.connect(filled.database_dsn) as conn:
        conn.execute("SET session_replication_role = replica")
        insert_minutes(conn, [NOW + years * 365 * DAY for years in (-10, 10)])
        yield conn
        conn.rollback()


def recent_chunks(conn: psycopg.Connection) -> set[str]:
    """The chunks of the last 30 days."""
    query = (
        "SELECT chunk_name FROM timescaledb_information.chunks"
        " WHERE range_start <= now() AND range_end >= now() - INTERVAL '30 days'"
    )
    return {name for (name,) in conn.execute(query)}


def test_psql_runs_the_examples(filled: Settings) -> None:
    settings = filled.changed(postgres_user="analyst")
    words = [f"--file={file}" for file in FILES]
    status, output, errors = run_psql(
        settings, "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", *words
    )
    assert (status, errors) == (0, "")
    assert output.count(" row") == len(FILES)


README = (CHECKOUT / "sql/README.md").read_text()


def test_statements_and_examples_of_the_readme_are_valid(analyst: psycopg.Connection) -> None:
    statements = re.findall(r"```sql\n(?!-- DuckDB)(.*?)```", README, re.DOTALL)
    psql_queries = re.findall(r'POSTGRES_USER=analyst ops/just psql -c "(.*)"', README)
    pandas_queries = re.findall(r'^HOURS = "(.*)"$', README, re.MULTILINE)
    assert (len(statements), len(psql_queries), len(pandas_queries)) == (3, 1, 1)
    for statement in ["\n".join(statements), *psql_queries, *pandas_queries]:
        for each in statement.split(";"):
            analyst.execute(each)
    named = re.findall(r"^\| `(\w+)\.sql` \|", README, re.MULTILINE)
    assert sorted(named) == [file.stem for file in FILES]
    assert set(re.findall(r"sql/examples/(\w+)\.sql", README)) <= set(named)
