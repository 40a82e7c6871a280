"""Shells complete commands, options, choices and files."""

import shutil
import subprocess
import sys

import pytest

from tracker.settings import CHECKOUT

SHELLS = {"bash": "complete -o", "zsh": "#compdef tracker", "fish": "complete -c tracker"}


def print_script(shell: str) -> str:
    """The output of `tracker completion`."""
    words = [sys.executable, "-W", "error", "-m", "tracker", "completion", shell]
    return subprocess.check_output(words, cwd=CHECKOUT, text=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_completion_script(shell: str) -> None:
    """It contains every command; an installed shell can parse it."""
    text = print_script(shell)

    assert SHELLS[shell] in text
    assert all(name in text for name in ("watch", "backfill", "--start-date", "--clock-offset"))
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "completion"),
    [
        ("ca", "candles"),
        ("prices --or", "--order"),
        ("candles btc_usd --interval ''", "1m 5m 15m 30m 1h 2h 3h 4h 6h 8h 12h 1d 3d 1w 1M 1Q 1Y"),
        ("prices btc_usd --fill ''", "null previous"),
        ("simulate --clock", "--clock-offset"),
        ("import ./pyproj", "./pyproject.toml"),
    ],
)
def test_bash_completes_words(words: str, completion: str) -> None:
    test = (
        f"COMP_WORDS=(tracker {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        "$(complete -p tracker | sed 's/.*-F \\([^ ]*\\).*/\\1/') tracker"
        ' "${COMP_WORDS[COMP_CWORD]}"\n'
        'echo "${COMPREPLY[*]}"\n'
    )
    found = subprocess.check_output(
        ["bash", "--norc", "-s"], input=print_script("bash") + test, text=True, cwd=CHECKOUT
    )
    assert found.strip() == completion
