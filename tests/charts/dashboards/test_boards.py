"""The dashboards come from their code, name real series and labels, and lead to each other."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
BOARDS = ("fleet", "queue", "workers")
TARGET_LABELS = {"cluster", "namespace", "pod", "queue"}
"""Set by the monitors of the chart, and by those who collect from several clusters."""
FOREIGN = {
    "ALERTS": {"alertname", "alertstate", "severity", "name", "pool"},
    "container_cpu_usage_seconds_total": {"container"},
    "container_memory_working_set_bytes": {"container"},
    "detection_queue:error_budget:burn_rate1h": {"name"},
    "detection_queue:error_budget:burn_rate6h": {"name"},
    "detection_worker:score:distance1h_7d": {"kind", "model", "version"},
    "DCGM_FI_DEV_GPU_UTIL": {"exported_pod", "exported_namespace"},
}
"""Series of others that the boards use, with their labels: recorded by the chart's rules, of
Prometheus, of kubelets and of GPUs."""
CHOICES = {"$cluster": ".*", "$namespace": "media", "$queue": "video|audio"}
VARIABLES = ["datasource", "cluster", "namespace", "queue", "runbooks"]


def board(chart: Path, name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((chart / "files/dashboards" / f"{name}.json").read_text())
    return parsed


def panels(chart: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each panel that is no row, with its board; those of collapsed rows too."""
    for name in BOARDS:
        for panel in board(chart, name)["panels"]:
            inner = panel["panels"] if panel["type"] == "row" else [panel]
            yield from ((f"{name}: {each['title']}", each) for each in inner)


def filled(expr: str) -> str:
    """Return an expression as Prometheus gets it."""
    for name, value in {
        **CHOICES,
        "$__rate_interval": "1m",
        "$__range": "1h",
        "$__interval": "15s",
    }.items():
        expr = expr.replace(name, value)
    return expr


def expressions(chart: Path) -> Iterator[tuple[str, str]]:
    """Yield where each expression stands, and itself as Prometheus gets it."""
    for where, panel in panels(chart):
        yield from ((where, filled(target["expr"])) for target in panel["targets"])
    for name in BOARDS:
        for item in board(chart, name)["annotations"]["list"]:
            yield f"{name}: {item['name']}", filled(item["expr"])


def names_in(expr: str) -> list[str]:
    return re.findall(rf"detection_(?:operator|worker)_\w+|{'|'.join(FOREIGN)}", expr)


def test_the_files_are_what_the_code_makes() -> None:
    command = [sys.executable, "-m", "tools.dashboards", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_every_expression_names_series_that_are_exported(
    chart: Path, series: Mapping[str, set[str]]
) -> None:
    known = series.keys() | FOREIGN.keys()
    unknown = {
        (where, name)
        for where, expr in expressions(chart)
        for name in names_in(expr)
        if name not in known
    }

    assert unknown == set()


def test_every_matcher_and_grouping_names_labels_that_exist(
    chart: Path, series: Mapping[str, set[str]]
) -> None:
    known = {**series, **FOREIGN}
    for where, expr in expressions(chart):
        made = set(re.findall(r', "(\w+)", "[^"]*", "', expr))
        allowed = (
            TARGET_LABELS | made | {"object"} if "label_join" in expr else TARGET_LABELS | made
        )
        for name in names_in(expr):
            allowed |= known[name]
        for name, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", expr):
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert used <= known[name] | TARGET_LABELS, (where, name)
        for grouping in re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expr):
            assert set(re.split(r",\s*", grouping)) <= allowed, (where, grouping)


def test_the_boards_show_every_series_of_operator_and_worker(
    chart: Path, series: Mapping[str, set[str]]
) -> None:
    shown = {name for _, expr in expressions(chart) for name in names_in(expr)}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}

    assert {re.sub("_(bucket|sum|count)$", "", name) for name in series} - families == set()


def test_legends_name_labels_that_the_series_keep(
    chart: Path, series: Mapping[str, set[str]]
) -> None:
    for where, panel in panels(chart):
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            kept = {label for item in grouped for label in re.split(r",\s*", item)}
            assert used <= kept, where


def test_panels_fill_the_grid_and_have_ids_of_their_own(chart: Path) -> None:
    for name in BOARDS:
        found = board(chart, name)["panels"]
        found += [inner for panel in found for inner in panel.get("panels", ())]
        cells: set[tuple[int, int]] = set()
        for panel in (each for each in found if not each.get("collapsed")):
            grid = {"x": 0, "y": 0, **panel["gridPos"]}
            mine = {
                (x, y)
                for x in range(grid["x"], grid["x"] + grid["w"])
                for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not mine & cells, panel["title"]
            assert grid["x"] + grid["w"] <= 24
            cells |= mine
        assert len({panel["id"] for panel in found}) == len(found)


def test_every_panel_says_what_it_shows_and_in_which_unit(chart: Path) -> None:
    for where, panel in panels(chart):
        defaults = panel["fieldConfig"]["defaults"]
        assert len(panel["description"]) > 20, where
        assert panel["type"] in {"table", "state-timeline"} or defaults["unit"], where


def test_links_lead_to_boards_runbooks_and_variables_that_exist(chart: Path) -> None:
    rules = yaml.safe_load((chart / "files" / "alerts.yaml").read_text())["groups"]
    alerts = {rule.get("alert") for group in rules for rule in group["rules"]}
    runbooks, boards = set(), set()
    for name in BOARDS:
        for url in re.findall(r'"url": "([^"]*)"', json.dumps(board(chart, name))):
            boards |= set(re.findall(r"/d/detection-queue-(\w+)", url))
            runbooks |= set(re.findall(r"\$\{runbooks\}/(.*)\.md", url))
            assert set(re.findall(r"var-(\w+)=", url)) <= set(VARIABLES), url

    assert boards == set(BOARDS)
    assert runbooks - {"${__value.raw}"} <= alerts
    assert len(runbooks) > 20


@pytest.mark.parametrize("name", BOARDS)
def test_every_choice_can_be_all_or_several(chart: Path, name: str) -> None:
    found = board(chart, name)["templating"]["list"]

    assert [item["name"] for item in found] == VARIABLES
    for item in found[1:4]:
        assert (item["includeAll"], item["multi"], item["allValue"]) == (True, True, ".*")
        assert item["current"]["value"] == ["$__all"]


def test_promtool_takes_every_expression(promtool: str, chart: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"r:{number}", "expr": expr}
        for number, (_, expr) in enumerate(expressions(chart))
    ]
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]})
    (tmp_path / "rules.yaml").write_text(text)

    command = [promtool, "check", "rules", "rules.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 100


def test_without_an_address_of_the_runbooks_no_panel_links_to_one(
    render: Callable[..., list[dict[str, Any]]], chart: Path
) -> None:
    def linkless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: linkless(item) for key, item in value.items()}
        if not isinstance(value, list):
            return value
        kept = (
            [item for item in value if "${runbooks}/" not in str(dict(item).get("url"))]
            if (value and all(isinstance(item, dict) for item in value))
            else value
        )
        return [linkless(item) for item in kept if not is_variable(item)]

    def is_variable(item: Any) -> bool:
        return isinstance(item, dict) and item.get("name") == "runbooks"

    objects = render({"monitoring": {"dashboard": {"enabled": True}}})

    [found] = [item for item in objects if item["kind"] == "ConfigMap"]
    for name in BOARDS:
        text = found["data"][f"detection-queue-{name}.json"]
        assert json.loads(text) == linkless(board(chart, name))
        assert "runbooks.invalid" not in text
        assert "${runbooks}" not in text


def test_the_config_map_holds_the_boards_with_the_address_of_the_runbooks(
    render: Callable[..., list[dict[str, Any]]], chart: Path
) -> None:
    url = "https://git.example/runbooks"
    objects = render({"monitoring": {"dashboard": {"enabled": True}, "runbookURL": f"{url}/"}})

    [found] = [item for item in objects if item["kind"] == "ConfigMap"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["data"].keys() == {f"detection-queue-{name}.json" for name in BOARDS}
    for name in BOARDS:
        expected = json.dumps(board(chart, name)).replace("https://runbooks.invalid", url)
        assert json.loads(found["data"][f"detection-queue-{name}.json"]) == json.loads(expected)
    assert url in found["data"]["detection-queue-fleet.json"]
    # kubectl apply keeps the object in an annotation, of 256 KiB at most together with others.
    assert len(json.dumps(found)) < 240 * 1024
