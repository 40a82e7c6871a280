"""Old names of tests.support.database."""

from tests.support.database import Run, make_settings
from tests.support.database import create_database as fresh_database
from tests.support.database import start_over_tcp as started_over_tcp

__all__ = ["Run", "fresh_database", "make_settings", "started_over_tcp"]
