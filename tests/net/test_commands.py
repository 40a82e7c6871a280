"""The command line on pipes: exit statuses, output for programs, and texts for people apart."""

import json
import re
import shlex
import shutil
import signal
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest

from tests.net import command_cases
from tests.net.commands import Command, Transcript, named, normalize
from tests.net.product import CHECKOUT, Product, Web, free_port
from tests.net.queries import run_queries, run_query
from tests.net.recordings import check

pytestmark = pytest.mark.slow

WATCH_TIMEOUT = 90.0  # seconds


@pytest.fixture(scope="module")
def reader(product: Product, web: Web) -> Product:
    """The product, whose commands find its API."""
    return product.changed(WEB_PORT=str(web.port))


@pytest.fixture(scope="module")
def away(product: Product) -> Product:
    """The product, whose commands find no API."""
    return product.changed(WEB_PORT=str(free_port()))


@pytest.fixture(scope="module")
def store(empty_product: Product) -> Iterator[Product]:
    """A migrated database for imports."""
    with empty_product.database("net_store") as store:
        yield store


def test_help_is_recorded(away: Product) -> None:
    """Of `tracker` and of each command."""
    commands = {"--help": Command("--help"), "-h": Command("-h")}
    commands |= {f"{name} --help": Command(f"{name} --help") for name in command_cases.NAMES}
    transcript = Transcript()
    transcript.run_all(away, commands)
    transcript.check("commands_help")


def test_wrong_words_exit_2(away: Product) -> None:
    """Before anything is done."""
    transcript = Transcript()
    transcript.run_all(away, named(command_cases.WRONG_WORDS))
    transcript.check("commands_wrong_words")


def test_completion_is_recorded(away: Product) -> None:
    """The options of each command are behaviour, the scripts are texts."""
    transcript = Transcript()
    transcript.run_all(away, named(f"completion {shell}" for shell in ("bash", "zsh", "fish")))
    script = away.done("completion", "bash").stdout
    options = re.findall(
        r"^(\S+_(?:option_strings|choices|subparsers))=\((.*)\)$", script, re.MULTILINE
    )
    transcript.behaviour["options"] = {name: shlex.split(words) for name, words in options}
    transcript.check("commands_completion")


def test_reads_return_recorded_rows(reader: Product) -> None:
    """What the API has, in each format; tables are texts."""
    transcript = Transcript()
    words = (*command_cases.DATA_READS, *command_cases.FAILING_READS)
    transcript.run_all(reader, named(words, is_data=True) | named(command_cases.TABLE_READS))
    transcript.check("commands_reads")


def test_unavailable_api_exits_1(away: Product) -> None:
    """Nothing listens there."""
    transcript = Transcript()
    transcript.run_all(away, named(command_cases.EVERY_READ, is_data=True))
    transcript.check("commands_api_away")


class _OtherServer(BaseHTTPRequestHandler):
    """Answers each path with the status that it begins with, and a page."""

    def do_GET(self) -> None:
        """Send the page."""
        body = b"<html>hello</html>"
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@contextmanager
def other_server() -> Iterator[str]:
    """The URL of a server that is no tracker."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _OtherServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_other_server_exits_1(away: Product) -> None:
    """What is at the URL is no tracker."""
    transcript = Transcript()
    with other_server() as url:
        product = away.changed(WEB_PORT=url.rpartition(":")[2])
        commands = {
            f"{words}, status {status}": Command(f"{words} --url {url}/{status}", is_data=True)
            for status in (200, 404, 422, 500)
            for words in ("prices btc_usd", "last btc_usd")
        }
        transcript.run_all(product, commands)
    transcript.check("commands_other_server")


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_watch_begins_with_newest_prices(reader: Product, form: str) -> None:
    """Then it waits for more, until Ctrl-C."""
    transcript = Transcript()
    with reader.background("watch", "eth_usd", "btc_usd", "--format", form) as watch:
        _wait_for_prices(watch, 2)
        watch.process.send_signal(signal.SIGINT)
        status = watch.process.wait(WATCH_TIMEOUT)
        output = normalize(reader, watch.log.read_text())
    transcript.add(form, status, output, "", is_data=form != "table")
    transcript.check(f"commands_watch_{form}")


def _wait_for_prices(watch: Web, count: int) -> None:
    deadline = time.monotonic() + WATCH_TIMEOUT
    while len(re.findall("_usd", watch.log.read_text())) < count:
        assert watch.process.poll() is None, watch.log.read_text()
        assert time.monotonic() < deadline, watch.log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("words", ["export", "prices btc_usd --all --order asc"])
def test_reader_that_leaves_ends_command(reader: Product, words: str) -> None:
    """`| head -1` hears no complaint."""
    with subprocess.Popen(
        [reader.program, *words.split()],
        env=reader.environment,
        cwd=reader.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        first = process.stdout.readline().decode()
        process.stdout.close()
        complaint = process.stderr.read().decode()
    check(
        f"commands_pipe_{words.partition(' ')[0]}",
        {"first": first, "stderr": complaint, "status": process.returncode},
    )


def test_export_writes_recorded_lines(product: Product) -> None:
    """To standard output, and to a file that is there only when it is whole."""
    transcript = Transcript()
    transcript.run_all(product, named(command_cases.EXPORTS, is_data=True))
    file = product.folder / "exported.csv"
    transcript.run(product, "to a file", Command(f"export --ticker tiny-coin_usdc {file}"))
    transcript.behaviour["file"] = {
        "mode": f"{file.stat().st_mode:o}",
        "is as standard output": file.read_text()
        == product.done("export", "--ticker", "tiny-coin_usdc").stdout,
    }
    file.unlink()
    transcript.run(product, "to a folder", Command(f"export {product.folder}"))
    transcript.run(product, "into no folder", Command("export /nowhere/prices.csv"))
    transcript.check("commands_export")


def test_import_is_idempotent(store: Product) -> None:
    """Each line once, whatever is imported again; `--dry-run` stores nothing."""
    file = store.folder / "good.csv"
    file.write_text(command_cases.GOOD_FILE)
    transcript = Transcript()
    transcript.run(store, "dry run", Command(f"import --dry-run {file}"))
    transcript.run(store, "export after dry run", Command("export", is_data=True))
    transcript.run(store, "import", Command(f"import {file}"))
    transcript.run(store, "export", Command("export", is_data=True))
    transcript.run(store, "import again", Command(f"import {file}"))
    transcript.run(store, "import of another price", command_cases.OTHER_PRICE)
    transcript.run(store, "import of what export writes", _export_of(store))
    transcript.run(store, "import of more", command_cases.MORE_ROWS)
    transcript.run(store, "import of what RETENTION drops", command_cases.OLD_ROWS)
    transcript.run(store, "export at last", Command("export", is_data=True))
    with psycopg.connect(store.dsn) as conn:
        transcript.behaviour["candles_1h"] = run_query(conn, command_cases.STORED_HOURS)
    transcript.check("commands_import")


def _export_of(product: Product) -> Command:
    return Command("import -", stdin=product.done("export").stdout)


def test_bad_files_import_nothing(store: Product) -> None:
    """Each bad line is named; none of the others is stored."""
    folder = store.folder / "bad"
    folder.mkdir()
    commands = {}
    for name, content in command_cases.BAD_FILES.items():
        file = folder / f"{name.replace(' ', '_')}.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        commands[name] = Command(f"import {file}")
    transcript = Transcript()
    with psycopg.connect(store.dsn) as conn:
        before = run_query(conn, "SELECT count(*), max(id) FROM prices")
        transcript.run_all(store, commands)
        assert run_query(conn, "SELECT count(*), max(id) FROM prices") == before
    for name in commands:
        transcript.behaviour[name]["lines"] = _named_lines(transcript, name)
    transcript.check("commands_bad_imports")


def _named_lines(transcript: Transcript, name: str) -> list[int]:
    """The numbers of the lines that the complaint names, if there is one."""
    complaint = "\n".join(transcript.texts.get(name, {}).get("stderr", []))
    return [int(number) for number in re.findall(r"line (\d+)\b", complaint)]


def test_missing_file_exits_1(store: Product) -> None:
    """Neither does a folder."""
    transcript = Transcript()
    commands = named(["import /nowhere.csv", "import /tmp", "restore /nowhere.zip", "restore /tmp"])
    transcript.run_all(store, commands)
    transcript.check("commands_missing_file")


def test_unavailable_database_exits_1(away: Product) -> None:
    """Its password is not repeated."""
    product = away.changed(POSTGRES_HOST="/nowhere", POSTGRES_PASSWORD="very-secret")
    transcript = Transcript()
    commands = named(command_cases.EVERY_DATABASE_COMMAND)
    transcript.run_all(product, commands)
    assert "very-secret" not in json.dumps(transcript.texts)
    transcript.check("commands_database_away")


def test_dsn_follows_settings(away: Product) -> None:
    """Hosts, ports, names, password."""
    transcript = Transcript()
    for name, variables in command_cases.DSN_VARIABLES.items():
        transcript.run(away, name, Command("dsn", variables=variables, is_data=True))
    transcript.check("commands_dsn")


def test_psql_passes_options_through(product: Product) -> None:
    """Its output, and its own exit statuses."""
    transcript = Transcript()
    transcript.run_all(product, named(command_cases.PSQL, is_data=True))
    transcript.check("commands_psql")


def test_migrate_and_rollback_are_idempotent(empty_product: Product) -> None:
    """Twice up, twice down, and up again; what needs the schema says that it is missing."""
    transcript = Transcript()
    with (
        empty_product.database("net_migrations") as product,
        psycopg.connect(product.dsn, autocommit=True) as conn,
    ):
        relations = transcript.behaviour.setdefault("relations", {})
        for name, words in command_cases.MIGRATIONS.items():
            transcript.run(product, name, Command(words))
            relations[name] = run_query(conn, command_cases.RELATIONS)
    transcript.check("commands_migrations")


@pytest.mark.parametrize("kind", ["dump", "csv"])
def test_restored_database_equals_backup(product: Product, kind: str) -> None:
    """Into an empty database, in both forms; never into one that holds rows."""
    file = product.folder / f"{kind}.zip"
    option = "--csv " if kind == "csv" else ""
    transcript = Transcript()
    transcript.run(product, "backup", Command(f"backup {option}{file}"))
    transcript.behaviour["members"] = sorted(ZipFile(file).namelist())
    with product.database(f"net_restored_{kind}") as target:
        transcript.run(target, "restore", Command(f"restore {file}"))
        with psycopg.connect(product.dsn) as one, psycopg.connect(target.dsn) as other:
            before = run_queries(one, command_cases.CONTENTS)
            after = run_queries(other, command_cases.CONTENTS)
            transcript.run(target, "restore into one in use", Command(f"restore {file}"))
        assert after == before
        transcript.behaviour["contents"] = after
        transcript.run(target, "restore again", Command(f"restore {file}"))
        transcript.run(target, "migrate afterwards", Command("migrate"))
    transcript.check(f"commands_backup_{kind}")


def test_bad_backup_is_refused(product: Product, store: Product) -> None:
    """No zip, another zip, one cut short; nothing is written where nothing can be."""
    folder = product.folder / "backups"
    folder.mkdir()
    (folder / "text.zip").write_text("no zip")
    with ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    product.done("backup", "--csv", str(folder / "whole.zip"))
    (folder / "cut.zip").write_bytes((folder / "whole.zip").read_bytes()[:-100])
    with ZipFile(folder / "whole.zip") as whole, ZipFile(folder / "less.zip", "w") as less:
        for name in whole.namelist():
            if name != "prices.csv":
                less.writestr(name, whole.read(name))
    names = [f"restore {folder / name}.zip" for name in ("text", "other", "cut", "less")]
    names += [f"backup {folder}", "backup /nowhere/all.zip"]
    transcript = Transcript()
    for words in names:
        transcript.run(store, normalize(store, words), Command(words))
    transcript.behaviour["files"] = sorted(path.name for path in folder.iterdir())
    transcript.check("commands_bad_backup")


def test_backup_names_its_file(product: Product) -> None:
    """After the database and the time, in the present folder; `-` is standard output."""
    before = set(product.folder.iterdir())
    product.done("backup", "--csv")
    (file,) = set(product.folder.iterdir()) - before
    written = subprocess.run(
        [product.program, "backup", "-", "--csv"],
        env=product.environment,
        cwd=product.folder,
        capture_output=True,
        check=True,
    )
    found = {
        "name": re.sub("[0-9]", "9", file.name),
        "standard output begins with": written.stdout[:4].decode(),
        "standard error": written.stderr.decode(),
    }
    file.unlink()
    check("commands_backup_name", found)


def test_servers_and_supervisor_say_what_runs(product: Product) -> None:
    """What is asked of servers that run, of a tracker that does not, of a port that is taken."""
    transcript = Transcript()
    with other_server() as url:
        taken = product.changed(WEB_PORT=url.rpartition(":")[2])
        transcript.run_all(taken, named(["infra", "down", "up", "demo"]))
    elsewhere = product.changed(TRACKER_HOME=str(product.folder / "elsewhere"))
    transcript.run(elsewhere, "down elsewhere", Command("down"))
    transcript.run(elsewhere, "down-infra elsewhere", Command("down-infra"))
    transcript.run(elsewhere, "migrate elsewhere", Command("migrate"))
    transcript.run(product, "timescale-upgrade", Command("timescale-upgrade"))
    said = transcript.texts["timescale-upgrade"]["stdout"]
    transcript.texts["timescale-upgrade"]["stdout"] = [
        re.sub(r"\d+(\.\d+)+", "<version>", line) for line in said
    ]
    transcript.check("commands_servers")


@pytest.fixture(scope="module")
def copied(product: Product) -> Path:
    """A copy of the checkout's program and SQL, which may be changed."""
    folder = product.folder / "copied"
    folder.mkdir()
    for name in ("tracker", "sql"):
        if (CHECKOUT / name).exists():
            shutil.copytree(CHECKOUT / name, folder / name)
    return folder


def test_new_migration_makes_two_files(product: Product, copied: Path) -> None:
    """The step and its rollback, numbered, after the newest one."""
    before = set(copied.rglob("*.sql"))
    done = subprocess.run(
        [CHECKOUT / ".venv/bin/python", "-m", "tracker", "new-migration", "Add a Thing, now!"],
        env=product.environment,
        cwd=copied,
        capture_output=True,
        text=True,
        check=False,
    )
    made = sorted(set(copied.rglob("*.sql")) - before)
    for file in made:
        file.rename(file.with_suffix(".seen"))
    seen = {_without_numbers(file.name): file.with_suffix(".seen").read_text() for file in made}
    check(
        "commands_new_migration",
        {"status": done.returncode, "stderr": done.stderr, "files": list(seen)},
        {
            "stdout": _without_numbers(done.stdout.replace(str(copied), "<folder>")),
            "files": {name: _without_numbers(text) for name, text in seen.items()},
        },
    )


def _without_numbers(text: str) -> str:
    return re.sub(
        r"\b[0-9]{4}\.[a-z_-]+(?=\n|$)", "<newest>", re.sub("[0-9]{4}(?=.add)", "<n>", text)
    )
