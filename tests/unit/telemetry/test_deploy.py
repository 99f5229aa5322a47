"""What lies in deploy/ asks for numbers that there are."""

import json
import re
from pathlib import Path

import yaml

from worker.telemetry.metrics import COUNTER, HISTOGRAM, METRICS

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/caskeeper.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def served():
    """Every name as it stands on the page."""
    suffixes = {COUNTER: ("_total",), HISTOGRAM: ("_bucket", "_sum", "_count")}
    return {name + end for name, metric in METRICS.items() for end in suffixes.get(metric.kind, ("",))}


def test_every_query_asks_for_what_is_told():
    for query in [*QUERIES, *(rule["expr"] for rule in RULES)]:
        names = set(re.findall(r"\bcaskeeper_\w+", query))
        assert names <= served(), query
        assert names or "up{" in query, query


def test_every_number_of_the_fleet_is_on_the_dashboard():
    shown = " ".join(QUERIES)
    left = {name for name in METRICS if not re.search(rf"\b{name}(_total|_bucket|_count)?\b", shown)}
    assert left == {
        "caskeeper_blobs",
        "caskeeper_evicted_bytes",
        "caskeeper_findings",
        "caskeeper_worker_begun",
        "caskeeper_eviction_waits_seconds",
    }


def test_every_alert_says_what_is_wrong_and_what_to_do_and_is_tested():
    tested = (DEPLOY / "prometheus/rules_test.yml").read_text()
    for rule in RULES:
        assert rule["alert"] in tested
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["action"].endswith(".")


def test_panels_have_numbers_of_their_own_and_lie_beside_each_other():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    cells = [(p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
