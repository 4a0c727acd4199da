"""The alert rules, the dashboard and the page about them name only metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from scenes import DIGEST, claim, queue_job, settle_next
from starlette.testclient import TestClient

from service.database import Database
from service.dependencies import AppState
from service.jobs import attempts, leases
from service.operations.figures import FRESH_SECONDS, OperationsMetrics

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "truthtune" / "files"
PAGE = (ROOT / "docs" / "how-to" / "observe.md").read_text()
ALERTS = yaml.safe_load((FILES / "alerts.yaml").read_text())
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
FIELDS = {"alert", "expr", "for", "labels", "annotations"}
RUNBOOK = re.findall(r"^\| `(Truthtune\w+)` \|", PAGE, re.MULTILINE)

ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What is told does not depend on its kind."""

Samples = dict[str, dict[str, set[str]]]
"""By sample's name the values of each label."""


@pytest.fixture
def exposed(operator: TestClient, state: AppState) -> dict[str, Samples]:
    """What a service tells that has settled a round, and in which everything has happened once: by
    the metric's name its samples."""
    queue_job(state.database)
    settle_next(state)
    queue_job(state.database)
    _sample_and_fail(state.database)
    operator.get("/v1/rounds")
    families = text_string_to_metric_families(operator.get("/metrics").text)
    created = "_created"  # when each series began, as Prometheus's client adds it
    return {f.name: _samples(f.samples) for f in families if not f.name.endswith(created)}


@ONE_DATABASE
def test_rules_and_dashboard_ask_for_metrics_and_labels_that_there_are(
    exposed: dict[str, Samples],
) -> None:
    samples = {name: labels for family in exposed.values() for name, labels in family.items()}
    asked = [*(rule["expr"] for rule in RULES), *expressions()]
    selectors = [each for expression in asked for each in _selectors(expression)]
    assert len(selectors) > 40
    for selector in selectors:
        assert selector.name in samples
        for matcher in selector.matchers.matchers:
            known = samples[selector.name][matcher.name]
            if matcher.op == promql_parser.MatchOp.Equal:
                assert matcher.value in known, f"{selector.name}: {matcher.name}={matcher.value}"


@ONE_DATABASE
def test_the_page_has_a_row_for_exactly_the_metrics_that_there_are(
    exposed: dict[str, Samples], client: TestClient, state: AppState
) -> None:
    rows = dict(re.findall(r"^\| `(truthtune_\w+)` \| (\w+)", PAGE, re.MULTILINE))
    assert rows.keys() == exposed.keys()
    state_of_all = OperationsMetrics().text(state.database, for_operator=False).decode()
    public = {family.name for family in text_string_to_metric_families(state_of_all)}
    public |= {name for name in exposed if name.startswith("truthtune_http")}
    assert {name for name, who in rows.items() if who == "anyone"} == public
    assert f"once in {FRESH_SECONDS:.0f} seconds" in PAGE


def test_the_page_says_what_to_do_about_exactly_the_alerts_that_there_are() -> None:
    assert [rule["alert"] for rule in RULES] == RUNBOOK


def test_the_chart_has_the_values_that_the_page_names() -> None:
    values = yaml.safe_load((ROOT / "helm" / "truthtune" / "values.yaml").read_text())
    named = re.findall(r"`((?:serviceMonitor|prometheusRule|grafanaDashboard)\.\w+)`", PAGE)
    assert len(named) == 4
    for section, name in (each.split(".") for each in named):
        assert name in values[section]


def test_rules_are_whole() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.keys() <= FIELDS
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))


def test_the_dashboard_can_be_drawn() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    (variable,) = DASHBOARD["templating"]["list"]
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == f"${{{variable['name']}}}"
    cells = [cell for panel in DASHBOARD["panels"] for cell in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells), "panels lie on one another"
    assert max(column for column, _ in cells) < 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_itself_takes_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", FILES / "alerts.yaml"], check=True, timeout=60)


def expressions() -> Iterator[str]:
    """The dashboard's, with Grafana's own variables filled in."""
    annotations = DASHBOARD["annotations"]["list"]
    targets = [target for panel in PANELS for target in panel["targets"]]
    for each in [*targets, *annotations]:
        yield each["expr"].replace("$__rate_interval", "5m")


def _sample_and_fail(database: Database) -> None:
    held = claim(database)
    with database.write() as session:
        leases.start_stage(session, held, "sample_pool")
        leases.finish_stage(session, held, "sample_pool", DIGEST, tokens=960)
        attempts.end_attempt(session, held, MemoryError("in a worker"), max_attempts=3)


def _samples(samples: Any) -> Samples:
    found: Samples = {}
    for sample in samples:
        labels = found.setdefault(sample.name, {})
        for name, value in sample.labels.items():
            labels.setdefault(name, set()).add(value)
    return found


def _selectors(expression: str) -> list[Any]:
    """Of the parsed expression, wherever they are in it."""
    found, waiting = [], [promql_parser.parse(expression)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
            continue
        for name in ("expr", "lhs", "rhs", "args", "vector_selector"):
            inner = getattr(node, name, None)
            waiting += inner if isinstance(inner, list) else [inner] if inner is not None else []
    return found


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for column in range(place["x"], place["x"] + place["w"]):
        for line in range(place["y"], place["y"] + place["h"]):
            yield column, line
