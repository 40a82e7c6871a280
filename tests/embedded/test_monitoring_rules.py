"""Prometheus' rules and Alertmanager's routes, judged by their own tools."""

import subprocess

import pytest
import yaml

from tests.support.debian import program
from tracker.settings import CHECKOUT

PROMETHEUS = CHECKOUT / "ops/prometheus"
ALERTMANAGER = CHECKOUT / "ops/alertmanager/alertmanager.yml"
WORTH_HAVING = {
    *("TargetDown", "TargetGone", "PriceStale", "PriceNone", "PollFailing", "TickMissing"),
    *("RepairFailing", "HolesStayOpen", "MessagesRejected", "QueueGrowing"),
    *("DatabaseDown", "ReplicaBehind", "RedisDown", "ErrorsMany", "AnswersSlow", "DiskFilling"),
}


def told(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts() -> dict[str, dict[str, dict[str, str]]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def cases() -> list[tuple[str, bool]]:
    """Each alert that rules_test.yml asks for, and whether it has to fire there."""
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    return [
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in tests
        for case in test["alert_rule_test"]
    ]


@pytest.mark.slow
def test_prometheus_takes_its_configuration() -> None:
    """The rules that it names are read along with it."""
    said = told(program("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert f"{len(WORTH_HAVING)} rules found" in said


@pytest.mark.slow
def test_alerts_fire_and_are_silent_when_they_should() -> None:
    """Each over made-up series, in ops/prometheus/rules_test.yml."""
    said = told(program("promtool"), "test", "rules", str(PROMETHEUS / "rules_test.yml"))
    assert "SUCCESS" in said


def test_every_alert_is_tested_both_ways() -> None:
    """Once where it must fire, once where it must not."""
    assert set(alerts()) == WORTH_HAVING
    assert set(cases()) == {(name, fires) for name in WORTH_HAVING for fires in (True, False)}


def test_every_alert_says_how_bad_and_what() -> None:
    """A severity that a route can go by, and a sentence."""
    for rule in alerts().values():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


@pytest.mark.slow
def test_alertmanager_takes_its_configuration() -> None:
    """amtool finds no fault."""
    said = told(program("amtool"), "check-config", str(ALERTMANAGER))
    assert "SUCCESS" in said


def test_silenced_alerts_exist() -> None:
    """What inhibits or is inhibited is an alert of ours."""
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            names = matcher.split('"')[1].split("|")
            assert set(names) <= WORTH_HAVING
