"""`ops/venv` beside variables that others set for their own Python, pip and npm."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tracker.settings import CHECKOUT

# They record what they are called with, and install nothing.
PYTHON = """#!/bin/sh
case "$*" in
*"-m venv"*)
    for venv; do :; done
    mkdir -p "$venv/bin" "$venv/lib/python3.11/site-packages" && cp "$0" "$venv/bin/python"
    printf '#!/bin/sh\nexit %s\n' "${PROGRAM_STATUS:-0}" >"$venv/bin/pip"
    chmod 755 "$venv/bin/pip"
    printf '%s' "$venv" >"$venv/lib/python3.11/site-packages/_deribit_price_tracker.pth"
    ;;
*"-m pip"*) env >>"$RECORD/pip" ;;
esac
"""
NPM = """#!/bin/sh
[ "$1" != --version ] || exec echo 10.0.0
echo "$@" >>"$RECORD/npm"
"""
FOREIGN = {
    "PIP_TARGET": "/nonexistent",
    "PIP_USER": "1",
    "PIP_REQUIREMENT": "/nonexistent",
    "PIP_NO_INDEX": "1",
    "PYTHONPATH": "/nonexistent",
    "PYTHONUTF8": "7",
    "PYTHONHOME": "/nonexistent",
    "PYTHONWARNINGS": "error",
}


def make_venv(
    tmp_path: Path, program: Path = CHECKOUT / "ops/venv", **variables: str
) -> tuple[dict[str, str], str]:
    """The environment of pip's last run, and the arguments of npm."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("python", PYTHON), ("npm", NPM)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHON": "python",
        "VENV": str(tmp_path / "venv"),
        "RECORD": str(tmp_path),
        **FOREIGN,
        **variables,
    }

    subprocess.run([program, "dev"], check=True, env=environment, capture_output=True, text=True)

    lines = (tmp_path / "pip").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines), (tmp_path / "npm").read_text()


def test_only_variables_of_the_index_reach_pip(tmp_path: Path) -> None:
    index = "https://pip.example.org/simple"
    environment, _ = make_venv(tmp_path, PIP_INDEX_URL=index, PIP_CERT="/ca.pem")

    foreign = {
        name: value for name, value in environment.items() if name.startswith(("PIP", "PYTHON"))
    }
    assert foreign == {"PIP_INDEX_URL": index, "PIP_CERT": "/ca.pem", "PYTHON": "python"}
    sections = (tmp_path / "venv/pip.conf").read_text().split("[")[1:]
    assert [section.splitlines()[0] for section in sections] == ["global]", "install]"]
    assert all("\ntarget =\n" in section for section in sections)


def test_folder_without_programs_is_an_error(tmp_path: Path) -> None:
    """One that is mounted noexec, or whose path the first line of a program cannot have."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        make_venv(tmp_path, PROGRAM_STATUS="126")

    message = f"programs cannot run in {tmp_path / 'venv'}: is it mounted noexec"
    assert message in raised.value.stderr


def test_path_of_the_checkout_is_relative(tmp_path: Path) -> None:
    """Python 3.11 fails in the locale C if it has other letters than ASCII's."""
    checkout = tmp_path / "tr\u00e4cker"
    for name in ("lock", "npm"):
        shutil.copytree(CHECKOUT / "ops" / name, checkout / "ops" / name)
    program = Path(shutil.copy2(CHECKOUT / "ops/venv", checkout / "ops"))

    make_venv(tmp_path, program, VENV="")

    [file] = checkout.glob(".venv/lib/python3.11/site-packages/_deribit_price_tracker.pth")
    assert file.read_text().isascii()
    assert (file.parent / file.read_text().strip()).resolve() == checkout


def test_folder_of_packages_replaces_the_index(tmp_path: Path) -> None:
    environment, _ = make_venv(tmp_path, PIP_FIND_LINKS="/packages")

    assert environment["PIP_NO_INDEX"] == "1"


def test_npm_installs_into_its_folder(tmp_path: Path) -> None:
    """With the packages of the checks, and a cache beside it where there is no home."""
    _, words = make_venv(tmp_path, NODE_ENV="production", npm_config_global="true")

    for word in ("--include=dev", "--global=false", f"--cache {tmp_path / 'venv/npm.cache'}"):
        assert word in words
