"""Prometheus' rules and Alertmanager's routes, checked by promtool and amtool."""

import re
import subprocess

import pytest
import yaml

from tests.support.debian import program_path
from tracker.settings import CHECKOUT

PROMETHEUS = CHECKOUT / "ops/prometheus"
ALERTMANAGER = CHECKOUT / "ops/alertmanager/alertmanager.yml"
ALERTS = {
    *("TargetDown", "TargetGone", "PriceStale", "PriceNone", "PollFailing", "TickMissing"),
    *("RepairFailing", "HolesStayOpen", "MessagesRejected", "QueueGrowing"),
    *("DatabaseDown", "ReplicaBehind", "RedisDown", "ErrorsMany", "AnswersSlow", "DiskFilling"),
    *("ClockSkewed", "PriceUnchanged", "IndexLocked", "IndexVanished", "BackupOld"),
}
DEAD_MAN = "Watchdog"  # always fires


def run_tool(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def load_alerts() -> dict[str, dict[str, dict[str, str]]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def load_cases() -> list[tuple[str, bool]]:
    """Each alert in rules_test.yml, and whether it has to fire there."""
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    return [
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in tests
        for case in test["alert_rule_test"]
    ]


@pytest.mark.slow
def test_prometheus_configuration_is_valid() -> None:
    output = run_tool(
        program_path("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml")
    )
    assert f"{len(ALERTS) + 1} rules found" in output


@pytest.mark.slow
def test_alerts_pass_the_rule_tests() -> None:
    output = run_tool(program_path("promtool"), "test", "rules", str(PROMETHEUS / "rules_test.yml"))
    assert "SUCCESS" in output


def test_every_alert_is_tested_firing_and_silent() -> None:
    assert set(load_alerts()) == ALERTS | {DEAD_MAN}
    cases = {(name, fires) for name in ALERTS for fires in (True, False)}
    assert set(load_cases()) == cases | {(DEAD_MAN, True)}


def test_every_alert_has_a_severity_and_a_text() -> None:
    """And a row in the table of the operators' document, which also lists no other alert."""
    document = (CHECKOUT / "ops/README.md").read_text()
    for name, rule in load_alerts().items():
        assert (rule["labels"]["severity"] in {"critical", "warning"}) == (name != DEAD_MAN)
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (file, anchor) == ("ops/README.md", name.lower())
        assert f'| <a id="{anchor}"></a>`{name}` |' in document
    rows = re.findall(r'<a id="(\w+)"></a>', document)
    assert sorted(rows) == sorted(name.lower() for name in load_alerts())


def test_dead_man_alert_reaches_a_receiver_of_its_own() -> None:
    """Nothing inhibits it."""
    config = yaml.safe_load(ALERTMANAGER.read_text())
    [route] = config["route"]["routes"]
    assert route["matchers"] == [f'alertname = "{DEAD_MAN}"']
    assert route["receiver"] in {each["name"] for each in config["receivers"]}
    targets = [text for rule in config["inhibit_rules"] for text in rule["target_matchers"]]
    assert not [text for text in targets if DEAD_MAN in text]


@pytest.mark.slow
def test_alertmanager_configuration_is_valid() -> None:
    output = run_tool(program_path("amtool"), "check-config", str(ALERTMANAGER))
    assert "SUCCESS" in output


def test_inhibit_rules_name_existing_alerts() -> None:
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            names = matcher.split('"')[1].split("|")
            assert set(names) <= ALERTS
