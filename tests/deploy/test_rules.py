"""The shipped Prometheus rules against the metrics the code exports, and against their own unit tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
RULES = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
SETTINGS = {"tokenyard:slo_objective:ratio", "tokenyard:budget:usd_per_hour"}


def unit_tests() -> list[dict[str, Any]]:
    files = sorted(PROMETHEUS.glob("tests*.yml"))
    return [test for path in files for test in yaml.safe_load(path.read_text())["tests"]]


def exported() -> dict[str, set[str]]:
    """Labels of each metric, from the page that a test holds equal to the code."""
    rows = re.findall(r"^\| `(tokenyard_\w+)` \| (\w+) \| (.*?) \|", PAGE.read_text(), re.M)
    series: dict[str, set[str]] = {}
    for name, kind, labels in rows:
        names = [f"{name}_{part}" for part in ("bucket", "count", "sum")] if kind == "histogram" else [name]
        of_family = (
            set(re.findall(r"`(\w+)`", labels)) | {"instance", "job"} | ({"le"} if kind == "histogram" else set())
        )
        series.update(dict.fromkeys(names, of_family))
    return series


def test_every_metric_that_a_rule_reads_is_exported_with_the_labels_it_selects() -> None:
    series = exported()
    for rule in RULES:
        for name, selector in re.findall(r"(?<![\w:])(tokenyard_\w+)(?![\w:])(?:\{(.*?)\})?", rule["expr"]):
            assert name in series, rule
            assert set(re.findall(r"(\w+)\s*=", selector)) <= series[name], rule


def test_every_recorded_series_that_an_alert_reads_is_recorded() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    read = {name for rule in RULES for name in re.findall(r"\w+:[\w:]+", rule["expr"])}
    assert read <= recorded
    assert recorded >= SETTINGS


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    checks = [check for test in unit_tests() for check in test.get("alert_rule_test", ())]
    fires = {check["alertname"] for check in checks if check.get("exp_alerts")}
    quiet = {check["alertname"] for check in checks if not check.get("exp_alerts")}
    partly = {"TokenyardSloBurnFast", "TokenyardSloBurnSlow", "TokenyardSloBurnLow"}  # quiet for other classes
    alerts = {rule["alert"] for rule in RULES if "alert" in rule}
    assert alerts == fires == quiet | partly


def test_every_recording_rule_has_a_unit_test() -> None:
    tested = " ".join(check["expr"] for test in unit_tests() for check in test.get("promql_expr_test", ()))
    assert [rule["record"] for rule in RULES if "record" in rule and rule["record"] not in tested] == []


def test_every_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert len(rule["annotations"]["description"]) > len(rule["annotations"]["summary"]) > 20


def test_the_page_beside_the_rules_lists_every_alert() -> None:
    listed = re.findall(r"^\| (Tokenyard\w+) \|.*\| (page|ticket) \|$", (PROMETHEUS / "README.md").read_text(), re.M)
    assert dict(listed) == {rule["alert"]: rule["labels"]["severity"] for rule in RULES if "alert" in rule}
