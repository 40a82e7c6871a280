"""Old names of tests.support.recipes."""

from tests.support.processes import command_line as command
from tests.support.processes import process_tree as members
from tests.support.recipes import recipe_environment as environment
from tests.support.recipes import run_recipe as just
from tests.support.recipes import start_recipe as running

__all__ = ["command", "environment", "just", "members", "running"]
