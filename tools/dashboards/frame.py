"""What the three boards have in common: variables, links, annotations, rows and the file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from tools.dashboards.parts import SOURCE, Panel
from tools.dashboards.promql import QUEUES, alerts, queues

TAG: Final = "detection-queue"
RUNBOOKS: Final = "https://runbooks.invalid"
"""Stands in the files where the chart puts the address of the runbooks."""
_EVERY: Final = model.VariableOption(selected=True, text=["All"], value=["$__all"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under a headline.

    Attributes:
        title: The headline; empty for the first row, which has none.
        panels: From left to right; the widths of a line add up to 24.
        collapsed: It opens at a click, and its queries wait for that.
    """

    title: str = ""
    panels: Sequence[Panel] = field(default_factory=tuple)
    collapsed: bool = False


class _PrometheusAnnotation(model.AnnotationQuery):
    """The SDK's annotation knows nothing of the fields of Grafana's Prometheus source."""

    title: str = ""
    text: str = ""

    def to_json(self) -> dict[str, object]:
        more = {"titleFormat": self.title, "textFormat": self.text, "step": "1m"}
        return {**super().to_json(), **more}


class _Annotation(dashboard.AnnotationQuery):
    def __init__(self, name: str, expr: str, color: str, text: str) -> None:
        super().__init__()
        made = _PrometheusAnnotation()
        made.title, made.text = name, text
        self._internal = made
        self.name(name).expr(expr).icon_color(color).datasource(SOURCE).enable(True)


def _scaled(sign: str) -> str:
    now = queues("desired_replicas")
    return f"{now} {sign} {now.replace('})', '} offset 1m)')}"


def annotations() -> list[_Annotation]:
    """Return what happened to the chosen queues, from the operator's and Prometheus's series."""
    where = "{{namespace}}/{{name}}"
    return [
        _Annotation("Alert", alerts(), "red", "{{alertname}} {{namespace}} {{name}}{{queue}}"),
        _Annotation("Roll-out", f"{queues('outdated_replicas')} > 0", "purple", where),
        _Annotation("Scaled up", _scaled(">"), "blue", where),
        _Annotation("Scaled down", _scaled("<"), "super-light-blue", where),
    ]


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(_EVERY)
    )


def _variables(board: dashboard.Dashboard) -> dashboard.Dashboard:
    series, queue = "detection_operator_condition", QUEUES.rpartition(", ")[0]
    cluster = queue.partition(", ")[0]
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    runbooks = dashboard.ConstantVariable("runbooks").value(RUNBOOKS)
    return (
        board.with_variable(source)
        .with_variable(_choice("cluster", "Cluster", f"label_values({series}, cluster)"))
        .with_variable(
            _choice("namespace", "Namespace", f"label_values({series}{{{cluster}}}, namespace)")
        )
        .with_variable(_choice("queue", "Queue", f"label_values({series}{{{queue}}}, name)"))
        .with_variable(runbooks)
    )


def _links(board: dashboard.Dashboard) -> dashboard.Dashboard:
    for title, uid in (("Fleet", "fleet"), ("Queue", "queue"), ("Workers", "workers")):
        link = dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK)
        link.url(f"/d/{TAG}-{uid}").include_vars(True).keep_time(True)
        board = board.link(link)
    return board


def _placed(board: dashboard.Dashboard, rows: Sequence[Row]) -> dashboard.Dashboard:
    number = 0
    for row in rows:
        made = dashboard.Row(row.title).collapsed(row.collapsed)
        panels = []
        for panel in row.panels:
            number += 1
            panels.append(panel.id(number))
        if row.title:
            number += 1
            made = made.id(number)
            for panel in panels if row.collapsed else ():
                made = made.with_panel(panel)
            board = board.with_row(made)
        for panel in () if row.collapsed else panels:
            board = board.with_panel(panel)
    return board


def board(name: str, title: str, about: str, rows: Sequence[Row]) -> str:
    """Return a board as the JSON that Grafana imports and provisions.

    Args:
        name: Its short name: the end of its uid.
        title: Its headline.
        about: What it is for.
        rows: Its panels.
    """
    made = (
        dashboard.Dashboard(title)
        .uid(f"{TAG}-{name}")
        .description(about)
        .tags([TAG])
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .editable()
        .version(1)
    )
    made = _links(_variables(made))
    for annotation in annotations():
        made = made.annotation(annotation)
    found: dict[str, Any] = json.loads(json.dumps(_placed(made, rows).build(), cls=JSONEncoder))
    for variable in found["templating"]["list"]:
        if variable["name"] == "runbooks":
            variable["hide"] = model.VariableHide.HIDE_VARIABLE.value
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
