"""The upgrade of TimescaleDB: an older version is simulated in the catalog."""

import psycopg
import pytest

from tests.support.clock import NOON
from tests.support.commands import run_command
from tests.support.database import insert_minutes
from tracker import migrations
from tracker.errors import DatabaseDown, SettingsError
from tracker.settings import Settings

# The files bring the steps from every version, but not the older libraries.
OLD_VERSION = """
    UPDATE _timescaledb_catalog.metadata SET value = '2.19.2' WHERE key = 'timescaledb_version';
    UPDATE pg_extension SET extversion = '2.19.2' WHERE extname = 'timescaledb'
"""


def simulate_old_version(settings: Settings) -> None:
    """A migrated database with a price, recorded as TimescaleDB 2.19.2."""
    migrations.apply(settings.database_dsn)
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        insert_minutes(conn, [NOON])
        conn.execute(OLD_VERSION)


def test_old_version_is_upgraded_once(fresh: Settings) -> None:
    simulate_old_version(fresh)
    with (
        pytest.raises(psycopg.Error, match=r"timescaledb-2\.19\.2"),
        psycopg.connect(fresh.database_dsn) as conn,
    ):
        conn.execute("SELECT FROM prices")  # before that, nothing of it can be used

    done = run_command(fresh, "timescale-upgrade")
    assert done == (0, "upgraded TimescaleDB from 2.19.2 to 2.19.3\n", "")
    repeated = run_command(fresh, "timescale-upgrade")
    assert repeated == (0, "TimescaleDB is 2.19.3 already\n", "")
    with psycopg.connect(fresh.database_dsn) as conn:
        assert conn.execute("SELECT FROM prices").rowcount == 1


def test_upgrade_without_the_right_names_the_variable(fresh: Settings) -> None:
    simulate_old_version(fresh)
    with pytest.raises(SettingsError, match=r"^POSTGRES_USER: must be owner of extension"):
        migrations.upgrade_timescaledb(fresh.changed(postgres_user="tracker_worker").database_dsn)
    assert migrations.upgrade_timescaledb(fresh.database_dsn) == ("2.19.2", "2.19.3")


def test_upgrade_without_extension_or_server_is_refused_in_one_line(fresh: Settings) -> None:
    with pytest.raises(DatabaseDown, match=r"is not installed in .*: run `tracker migrate`"):
        migrations.upgrade_timescaledb(fresh.database_dsn)
    with pytest.raises(DatabaseDown, match=r"^[^\n]*/nowhere[^\n]*$"):
        migrations.upgrade_timescaledb("host=/nowhere dbname=tracker")
