set positional-arguments := true

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# Lists the recipes
[private]
default:
    @just --justfile "{{ justfile() }}" --list --unsorted

# The programs that the other recipes run
_venv:
    @ops/venv

# Those of the checks too
_dev:
    @ops/venv dev

# Those of the benchmark too
_bench:
    @ops/venv bench

# Record Deribit's prices and serve them, in this terminal, until Ctrl-C
[group('run')]
up: _venv
    @exec tracker up

# The same against the bundled simulator, in a database of its own; needs no internet
[group('run')]
demo: _venv
    @exec tracker demo

# Stop what `up`, `demo` or Docker Compose run here
[group('run')]
[no-exit-message]
down: _venv
    @if ops/docker-here; then docker compose stop web worker scheduler; else tracker down; fi

# psql on the database; its options pass through
[group('database')]
[no-cd]
[no-exit-message]
psql *args: _venv
    @exec tracker psql "$@"

# The database's connection string
[group('database')]
[no-exit-message]
dsn: _venv
    @tracker dsn

# Apply the migrations
[group('database')]
[no-exit-message]
upgrade: _venv
    @if ops/docker-here; then docker compose run --rm --build migrate; else tracker migrate; fi

# Make an empty migration and its rollback: just migrate msg="add a column"
[group('database')]
[no-exit-message]
migrate msg: _venv
    @tracker new-migration "${1#msg=}"

# Undo the migrations after a revision: just downgrade rev=2
[group('database')]
[no-exit-message]
downgrade rev: _venv
    @tracker rollback "${1#rev=}"

# Save the whole database to a file: just backup [--csv] [FILE]; --csv fits every TimescaleDB
[group('database')]
[no-cd]
[no-exit-message]
backup *args: _venv
    @exec "{{ justfile_directory() }}/ops/backup" backup "$@"

# Bring such a file back, into a database that holds nothing
[group('database')]
[no-cd]
[no-exit-message]
restore file: _venv
    @exec "{{ justfile_directory() }}/ops/backup" restore "$@"

# Bring TimescaleDB to the version that the server has
[group('database')]
[no-exit-message]
timescale-upgrade: _venv
    @if ops/docker-here; then docker compose run --rm --build migrate timescale-upgrade; else tracker timescale-upgrade; fi

# Start TimescaleDB and Redis in the background
[group('develop')]
[no-exit-message]
infra: _venv
    @if ops/docker-here; then docker compose up --detach --wait db redis; else tracker infra; fi

# Stop them
[group('develop')]
[no-exit-message]
down-infra: _venv
    @if ops/docker-here; then docker compose stop db redis; else tracker down-infra; fi

# Serve the API
[group('develop')]
[no-exit-message]
dev-web: _venv
    @if ops/docker-here; then docker compose up --build web; else exec tracker web; fi

# Poll each minute: the worker and its scheduler
[group('develop')]
[no-exit-message]
dev-worker: _venv
    @if ops/docker-here; then docker compose up --build worker scheduler; else exec tracker dev-worker; fi

# Serve the API under debugpy, which listens on port 5678
[group('develop')]
debug-web: _dev
    python -X frozen_modules=off -m debugpy --listen 127.0.0.1:5678 -m tracker web

# A stand-in for the exchange; options: just simulate --help
[group('develop')]
simulate *args: _venv
    @exec tracker simulate "$@"

# Pictures of the page for the README, from a demo with some weeks of history
[group('develop')]
screenshots: _dev
    python ops/screenshots/make.py

# Start Prometheus, Alertmanager, Loki, Alloy and Grafana; needs Docker
[group('monitor')]
[no-exit-message]
monitoring:
    @ops/monitoring

# Stop them
[group('monitor')]
[no-exit-message]
down-monitoring:
    @if ops/docker-here; then docker compose --profile monitoring stop prometheus alertmanager loki alloy grafana postgres_exporter redis_exporter; else echo "nothing runs"; fi

# Every test, four at a time, as many wait; arguments go to pytest: just test -k params
[group('check')]
test *args: _dev
    pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

# Break whole trackers for minutes, and see that all is well afterwards
[group('check')]
chaos *args: _dev
    pytest -m chaos "$@"

# Build the image, run compose.yaml on a Docker engine of its own; short: up, and a price goes through
[group('check')]
[no-exit-message]
compose-test *args: _dev
    @exec ops/compose-test "$@"

# What needs no servers, on every other Python of this machine or on those named: just test-pythons 3.12
[group('check')]
test-pythons *versions: _dev
    ops/test-pythons "$@"

# Measure the speed against comparators, in 14 minutes: just bench [--large] [LINE]...
[group('check')]
[no-exit-message]
bench *args: _bench
    @exec python -m ops.bench "$@"

# The same in three minutes: fewer and shorter rounds
[group('check')]
[no-exit-message]
bench-quick *args: _bench
    @exec python -m ops.bench --quick "$@"

# Style, and imports that go down only
[group('check')]
lint: _dev
    ruff check
    ruff format --check
    lint-imports

# Types, strictly
[group('check')]
type-check: _dev
    mypy

# Known vulnerabilities in the code and, where a source of advisories is available, in the dependencies
[group('check')]
[no-exit-message]
audit:
    @exec ops/audit

# Format the code
[group('check')]
format: _dev
    ruff format
    ruff check --fix-only

# All of it, cheapest first
[group('check')]
check: lint type-check test

# Resolve and lock the newest dependencies, without any index address
[group('check')]
lock: _venv
    ops/lock/resolve
