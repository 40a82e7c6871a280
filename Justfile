set positional-arguments := true

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# Others may have set these for their own Python: modules that shadow ours, warnings as errors.
unexport PYTHONEXECUTABLE
unexport PYTHONHOME
unexport PYTHONINSPECT
unexport PYTHONIOENCODING
unexport PYTHONOPTIMIZE
unexport PYTHONPATH
unexport PYTHONPLATLIBDIR
unexport PYTHONUTF8
unexport PYTHONWARNINGS

# Lists the recipes
[private]
default:
    @just --justfile "{{ justfile() }}" --list --unsorted

# Install the product
_venv:
    @ops/venv

# Install the tools of the checks too
_dev:
    @ops/venv dev

# Install the tools of the benchmark too
_bench:
    @ops/venv bench

# Record and serve Deribit's prices in this terminal until Ctrl-C
[group('run')]
up: _venv
    @exec tracker up

# The same with simulated prices in a separate database; needs no internet
[group('run')]
demo: _venv
    @exec tracker demo

# Stop `up`, `demo` or Docker Compose
[group('run')]
[no-exit-message]
down: _venv
    @if ops/in-compose; then docker compose stop web worker scheduler; else tracker down; fi

# Run psql on the database; its options pass through
[group('database')]
[no-cd]
[no-exit-message]
psql *args: _venv
    @exec "{{ justfile_directory() }}/ops/database" psql "$@"

# Print the database's connection string: just dsn [--url | --jdbc]; a URL has the TCP address, if any
[group('database')]
[no-exit-message]
dsn *args: _venv
    @ops/database dsn "$@"

# Set a password of an analyst and print the URL with it: just analyst-password [NAME]; creates NAME
[group('database')]
[no-exit-message]
analyst-password *args: _venv
    @ops/database analyst-password "$@"

# Apply the migrations
[group('database')]
[no-exit-message]
upgrade: _venv
    @ops/database migrate

# Create an empty migration and its rollback: just migrate msg="add a column"
[group('database')]
[no-exit-message]
migrate msg: _venv
    @tracker new-migration "${1#msg=}"

# Roll back the migrations after a revision: just downgrade rev=2 [force=1]; force drops rows
[group('database')]
[no-exit-message]
downgrade rev force="": _venv
    @ops/database rollback "${1#rev=}" {{ if force =~ '^(force=1|force=yes|--force)$' { "--force" } else { "" } }}

# Back up the database to a file: just backup [--csv] [--force] [FILE]; --csv suits every version of TimescaleDB
[group('database')]
[no-cd]
[no-exit-message]
backup *args: _venv
    @exec "{{ justfile_directory() }}/ops/database" backup "$@"

# Restore a backup into an empty database
[group('database')]
[no-cd]
[no-exit-message]
restore file: _venv
    @exec "{{ justfile_directory() }}/ops/database" restore "$@"

# Update the TimescaleDB extension to the server's version
[group('database')]
[no-exit-message]
timescale-upgrade: _venv
    @ops/database timescale-upgrade

# Start TimescaleDB and Redis in the background
[group('develop')]
[no-exit-message]
infra: _venv
    @if ops/in-compose; then docker compose up --detach --wait db redis; else tracker infra; fi

# Stop TimescaleDB and Redis
[group('develop')]
[no-exit-message]
down-infra: _venv
    @if ops/in-compose; then docker compose stop db redis; else tracker down-infra; fi

# Serve the API
[group('develop')]
[no-exit-message]
dev-web: _venv
    @if ops/in-compose; then exec ops/compose-up web; else exec tracker web; fi

# Poll each minute: run the worker and its scheduler
[group('develop')]
[no-exit-message]
dev-worker: _venv
    @if ops/in-compose; then exec ops/compose-up worker scheduler; else exec tracker dev-worker; fi

# Serve the API under debugpy on port 5678
[group('develop')]
debug-web: _dev
    python -X frozen_modules=off -m debugpy --listen 127.0.0.1:5678 -m tracker web

# Compare the configured exchange's responses with its documentation
[group('develop')]
[no-exit-message]
check-exchange *args: _venv
    @exec tracker check-exchange "$@"

# Simulate the exchange; options: just simulate --help
[group('develop')]
simulate *args: _venv
    @exec tracker simulate "$@"

# Make the blocking client of the one for asyncio, after a change of tracker/client/aio.py
[group('develop')]
blocking-client: _dev
    python ops/blocking_client.py

# Make the README's screenshots from a demo with weeks of history
[group('develop')]
screenshots: _dev
    python ops/screenshots/make.py

# Start Prometheus, Alertmanager, Loki, Alloy and Grafana; requires Docker
[group('monitor')]
[no-exit-message]
monitoring:
    @ops/monitoring

# Stop the monitoring
[group('monitor')]
[no-exit-message]
down-monitoring:
    @if ops/docker-here; then docker compose --profile monitoring stop prometheus alertmanager loki alloy grafana postgres_exporter redis_exporter; else echo "nothing runs"; fi

# Run the tests in four processes; arguments go to pytest: just test -k params
[group('check')]
test *args: _dev
    pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

# Inject faults into whole trackers for minutes and check that they recover
[group('check')]
chaos *args: _dev
    pytest -m chaos "$@"

# Build the image and test compose.yaml on a private Docker engine; short: until a price is stored
[group('check')]
[no-exit-message]
compose-test *args: _dev
    @exec ops/compose-test "$@"

# Run the tests without servers on other Pythons, unit tests on the newest: just test-pythons [3.12 | newest]
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

# Generate a Python and a TypeScript client, check their types and call a demo; requires npm
[group('check')]
[no-exit-message]
client-test: _venv
    @exec python -m ops.clients

# Check style and import layers
[group('check')]
lint: _dev
    ruff check
    ruff format --check
    lint-imports

# Check types
[group('check')]
type-check: _dev
    mypy

# Find known vulnerabilities in our code and in dependencies
[group('check')]
[no-exit-message]
audit:
    @exec ops/audit

# Format the code
[group('check')]
format: _dev
    ruff format
    ruff check --fix-only

# Change the pure modules in small ways, and list what their tests do not notice; five minutes
[group('check')]
[no-exit-message]
mutation: _dev
    @exec nice -n 10 python -m ops.mutation

# Run lint, type-check and test
[group('check')]
check: lint type-check test

# Resolve the newest dependencies and lock them with hashes
[group('check')]
lock: _venv
    ops/lock/resolve
