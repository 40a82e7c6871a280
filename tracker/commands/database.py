"""The database: its shell, and its schema."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tracker.commands.group import Group

if TYPE_CHECKING:
    from tracker.settings import Settings


def register(group: Group) -> None:
    """Declare them."""
    group.add("psql", open_psql, "open psql on the database; its options pass through")
    group.add("dsn", _dsn, "print the database's connection string")
    group.add("migrate", _migrate, "bring the database up to date")
    rollback = group.add("rollback", _rollback, "undo the migrations after a revision")
    rollback.add_argument("revision", help="the number or name to go back to; 0: undo all")
    create = group.add("new-migration", _new_migration, "make an empty migration and its rollback")
    create.add_argument("message", help="what it does, in a few words")


def open_psql(settings: "Settings", arguments: argparse.Namespace) -> None:
    """Become psql."""
    from tracker.embedded.home import psql_command, psql_environment, running_settings

    chosen = running_settings(settings)
    words = psql_command(chosen, arguments.arguments)
    os.execvpe(words[0], words, psql_environment(chosen))  # noqa: S606 -- it takes our place


def _dsn(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker.embedded.home import running_settings

    print(running_settings(settings).direct_dsn)


def _migrate(settings: "Settings", _: argparse.Namespace) -> None:
    from tracker import migrations, roles

    applied = migrations.apply(settings.direct_dsn)
    print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    if missing := roles.missing(settings.direct_dsn):
        sys.stderr.write(
            f"without {', '.join(missing)}: {settings.postgres_user} may not create roles."
            " Once they exist, `tracker migrate` grants them their rights.\n"
        )
    roles.set_passwords(settings.direct_dsn, settings.role_passwords)


def _rollback(settings: "Settings", arguments: argparse.Namespace) -> None:
    from tracker import migrations

    undone = migrations.rollback(settings.direct_dsn, arguments.revision)
    print("\n".join(f"undid {name}" for name in undone) or "there was nothing to undo")


def _new_migration(_: "Settings", arguments: argparse.Namespace) -> None:
    from tracker import migrations

    print("\n".join(str(path) for path in migrations.create(arguments.message)))
