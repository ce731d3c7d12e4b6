"""The alert rules and dashboards in deploy/ hold together: with the metrics, with their tests, with the runbook and the README."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml
from prometheus_box import DEPLOY, quickened, rules

from connect.catalogue import Owner, catalogue
from workers.metrics import METRICS, Metric

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
NAME = re.compile(r"\bconnect_\w+")


def names(metric: Metric) -> list[str]:
    parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    return [metric.name + part for part in parts]


KNOWN = {name for metric in METRICS for name in names(metric)}


def promtool(*words: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_rules_and_configuration():
    promtool("check", "rules", "rules.yml")
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@needs_promtool
def test_promtool_runs_the_rules_own_tests():
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_every_alert_has_a_test_of_its_own():
    tested = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]: {bool(one["exp_alerts"]) for one in test["alert_rule_test"]}
        for test in tested
        for case in test["alert_rule_test"]
    }
    assert fired == {rule["alert"]: {True, False} for rule in rules()}, "each is seen firing and silent"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_whose_turn_it_is_and_where_to_read_on(rule: dict[str, Any]):
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["labels"]["owner"] in get_args(Owner)
    assert rule["annotations"]["runbook_url"] == "deploy/runbook.md#" + rule["alert"].lower().replace(" ", "-")
    summary = rule["annotations"]["summary"]
    assert len(summary) > 30
    assert summary.endswith(".")
    used = set(NAME.findall(rule["expr"]))
    assert used <= KNOWN
    known_labels = {"job", "instance"} | {label for metric in METRICS if used & set(names(metric)) for label in metric.labels}
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= known_labels


CATALOGUED: Final = {
    "Sage refuses the login": "sage_permission",
    "Prime refuses the login": "prime_credentials",
    "Sage gives no token": "sage_credentials",
    "Sage throttles a lot": "sage_busy",
}
"""Alerts about an error that the catalogue knows."""


@pytest.mark.parametrize(("alert", "entry"), CATALOGUED.items())
def test_an_alert_about_a_known_error_is_for_whom_the_catalogue_says(alert: str, entry: str):
    (rule,) = (rule for rule in rules() if rule["alert"] == alert)
    (known,) = catalogue().named(entry)
    assert rule["labels"]["owner"] == known.owner


@pytest.mark.parametrize("rule", [rule for rule in rules() if "dead_letters" in rule["expr"]], ids=lambda rule: rule["alert"])
def test_an_alert_about_dead_letters_is_for_their_owner_and_by_age(rule: dict[str, Any]):
    (owners,) = re.findall(r'owner=~?"([^"]+)"', rule["expr"])
    assert rule["labels"]["owner"] == {"Sage|Rillion": "consultant"}.get(owners, owners), "the makers are told by the consultant"
    assert "for" not in rule, "how long is the letter's own age: another letter, or a Prometheus that starts anew, changes nothing"
    assert "connect_dead_letters_oldest_seconds" in rule["expr"]


def test_somebody_is_told_of_every_owners_old_letters_but_the_clerks_which_are_back_in_prime():
    asked = {
        owner
        for rule in rules()
        for owners in re.findall(r'oldest_seconds\{owner=~?"([^"]+)"', rule["expr"])
        for owner in owners.split("|")
    }
    assert asked == set(get_args(Owner)) - {"clerk"}


def test_the_names_of_alerts_are_their_own():
    found = [rule["alert"] for rule in rules()]
    assert len(set(found)) == len(found) == 27


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_metrics_there_are_of_the_source_that_is_provisioned(path: Path):
    board = json.loads(path.read_text())
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert set(NAME.findall(target["expr"])) <= KNOWN | {"connect_connection_info"}
            assert target["datasource"]["uid"] == source["uid"]


def test_every_metric_is_on_a_dashboard_or_in_a_rule():
    shown = set(NAME.findall("".join(path.read_text() for path in DASHBOARDS) + (PROMETHEUS / "rules.yml").read_text()))
    assert {metric.name for metric in METRICS if not shown & set(names(metric))} == set()


def test_the_readme_lists_the_metrics_there_are():
    readme = (DEPLOY.parent / "README.md").read_text()
    listed = re.findall(r"^\| `(connect_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", readme, flags=re.MULTILINE)
    assert listed == [(one.name, one.kind, ", ".join(one.labels), one.help.rstrip(".")) for one in METRICS]


def test_quickened_rules_are_the_same_rules():
    quick = [rule for group in yaml.safe_load(quickened((PROMETHEUS / "rules.yml").read_text()))["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in quick] == [rule["alert"] for rule in rules()]
    assert all(rule.get("for") in (None, "1s") for rule in quick)
