"""The version, the image, the service file and the operator's lines agree with the tracker."""

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tracker import __version__
from tracker.settings import CHECKOUT, Settings

COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
OVERRIDE = yaml.load((CHECKOUT / "tests/compose/override.yaml").read_text(), yaml.BaseLoader)
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
UNIT = CHECKOUT / "ops/systemd/tracker.service"
GUIDE = (CHECKOUT / "ops/README.md").read_text()


def test_image_has_the_version() -> None:
    services = COMPOSE["services"] | {"exchange": OVERRIDE["services"]["exchange"]}
    image = f"deribit-price-tracker:{__version__}"
    assert {services[name]["image"] for name in ("migrate", "web", "worker", "exchange")} == {image}
    assert services["migrate"]["build"]["args"] == {"VERSION": __version__}


def test_changelog_begins_with_the_version() -> None:
    text = (CHECKOUT / PROJECT["urls"]["Changelog"]).read_text()
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == __version__


def test_addresses_of_the_project_exist() -> None:
    for path in (*PROJECT["urls"].values(), *PROJECT["license-files"], PROJECT["readme"]):
        assert (CHECKOUT / path).is_file()


def test_service_runs_the_tracker_in_its_folders() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    unit.read(UNIT)
    service = unit["Service"]

    program, command = service["ExecStart"].split()
    assert (Path(program).name, command) == ("tracker", "up")
    names = {word.partition("=")[0].lower() for word in service["Environment"].split()}
    assert names <= Settings.model_fields.keys()
    assert service["KillMode"] == "mixed"  # the tracker stops its processes in order


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_service_is_valid(tmp_path: Path) -> None:
    program = shutil.which("true")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/tracker/bin/tracker", str(program)))

    done = subprocess.run(
        ["systemd-analyze", "verify", copy], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_daily_line_keeps_fourteen_backups(tmp_path: Path) -> None:
    """Only after a complete backup."""
    [line] = re.findall(r"^    7 3 \* \* \* (cd .+)$", GUIDE, re.MULTILINE)
    line = line.replace("/srv/tracker", str(tmp_path)).replace("/var/backups", str(tmp_path))
    recipe = tmp_path / "ops/just"
    recipe.parent.mkdir()
    for day in range(1, 20):
        (tmp_path / f"tracker-2026-01-{day:02}.zip").touch()
    (tmp_path / "other.zip").touch()

    recipe.write_text("#!/bin/sh\nexit 1\n")
    recipe.chmod(0o755)
    assert subprocess.run(["sh", "-c", line.replace("\\%", "%")], check=False).returncode == 1
    assert len(list(tmp_path.glob("*.zip"))) == 20

    recipe.write_text('#!/bin/sh\n[ "$1" = backup ] && touch "$2"\n')
    subprocess.run(["sh", "-c", line.replace("\\%", "%")], check=True)

    left = sorted(path.name for path in tmp_path.glob("tracker-*.zip"))
    assert len(left) == 14
    assert left[0] == "tracker-2026-01-07.zip"
    assert (tmp_path / "other.zip").exists()
