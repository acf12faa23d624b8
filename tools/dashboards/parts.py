"""What the boards are built of: queries, panels, columns and links in one style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

Panel = stat.Panel | statetimeline.Panel | tables.Panel | timeseries.Panel
_P = TypeVar("_P", stat.Panel, statetimeline.Panel, tables.Panel, timeseries.Panel)
Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from which value on which colour; None begins."""

Values = Mapping[str, tuple[str, str]]
"""Texts and colours of values."""

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
PLAIN: Final[Steps] = ((None, "text"),)
NONE_IS_FINE: Final[Steps] = ((None, "#808080"), (0, "green"), (1, "red"))
"""Grey without a value: that nothing is known is neither good nor bad."""
FEW_ARE_FINE: Final[Steps] = ((None, "text"), (1, "orange"))
OBJECTIVE: Final[Steps] = ((None, "text"), (0, "green"), (0.8, "orange"), (1, "red"))
"""Age in terms of the objective: late from 1 on, soon from 0.8 on."""
MARGIN: Final[Steps] = ((None, "text"), (-1, "red"), (0, "green"))
"""Attainment less the objective."""
CONDITION: Final = {"0": ("False", "red"), "1": ("True", "green"), "-1": ("Unknown", "#808080")}


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL.
        legend: Name of its series, with labels in double braces.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What every panel says of itself.

    Attributes:
        title: Its headline.
        text: What it shows and what to read from it.
        runbook: Alert whose runbook says what to do.
        width: Columns of 24.
        height: Units of the grid.
    """

    title: str
    text: str
    runbook: str = ""
    width: int = 8
    height: int = 8


def small(*, title: str, text: str, runbook: str = "") -> About:
    """Return what a panel of one number says of itself."""
    return About(title=title, text=text, runbook=runbook, width=3, height=4)


def runbook(alert: str) -> dashboard.DashboardLink:
    """Return the link to the runbook of an alert."""
    link = dashboard.DashboardLink(f"Runbook {alert}").type(model.DashboardLinkType.LINK)
    return link.url(f"${{runbooks}}/{alert}.md").target_blank(True)


def board_link(title: str, board: str, **fields: str) -> dashboard.DashboardLink:
    """Return a data link to another board with the same source and time.

    Args:
        title: What the link says.
        board: The board's short name.
        fields: Variables of the other board and what they become.
    """
    chosen = "".join(f"&var-{name}={value}" for name, value in fields.items())
    url = f"/d/detection-queue-{board}?${{datasource:queryparam}}{chosen}&${{__url_time_range}}"
    return dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK).url(url)


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Return thresholds in absolute values."""
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value, color) for value, color in steps])
    )


def mapping(values: Values) -> model.ValueMap:
    """Return texts and colours of values."""
    return model.ValueMap(
        {
            value: model.ValueMappingResult(text, color, index=index)
            for index, (value, (text, color)) in enumerate(values.items())
        }
    )


def headed(panel: _P, about: About) -> _P:
    """Return a panel with what it says of itself."""
    links: list[Builder[model.DashboardLink]] = []
    if about.runbook:
        links.append(runbook(about.runbook))
    return (
        panel.title(about.title)
        .description(about.text)
        .datasource(SOURCE)
        .span(about.width)
        .height(about.height)
        .links(links)
    )


def target(query: Query, number: int) -> prometheus.Dataquery:
    """Return a query as Grafana knows it; ``number`` counts from 0 within the panel."""
    return (
        prometheus.Dataquery()
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(ref(number))
        .range()
    )


def ref(number: int) -> str:
    """Return the letter of a query."""
    return chr(ord("A") + number)


def number(
    about: About,
    *queries: Query,
    unit: str = "short",
    steps: Steps = PLAIN,
    decimals: int | None = None,
    empty: str = "-",
    alarming: bool = False,
) -> stat.Panel:
    """Return a panel of one big number, or one for each query: what it is now.

    The newest sample of a range would still be shown hours after its queue is gone.

    Args:
        about: What it says of itself.
        queries: Each gives one series.
        unit: Grafana's name of the unit.
        steps: When it takes which colour.
        decimals: Digits after the point; None as many as needed.
        empty: What stands there when there is no data.
        alarming: The whole panel takes the colour.
    """
    color = look.BigValueColorMode.BACKGROUND if alarming else look.BigValueColorMode.VALUE
    panel = (
        headed(stat.Panel(), about)
        .targets([target(query, place).instant() for place, query in enumerate(queries)])
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(color)
        .graph_mode(look.BigValueGraphMode.NONE)
        .text_mode(look.BigValueTextMode.AUTO)
        .no_value(empty)
    )
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    about: About,
    *queries: Query,
    unit: str = "short",
    stacked: bool = False,
    share: bool = False,
    limit: str = "",
    steps: Steps = (),
    dashed: str = "",
    colors: Mapping[str, str] | None = None,
    axis: tuple[float | None, float | None] = (0, None),
) -> timeseries.Panel:
    """Return a panel of lines over time.

    Args:
        about: What it says of itself.
        queries: What it draws.
        unit: Grafana's name of the unit.
        stacked: The series are parts of a whole.
        share: They are drawn as parts of 100 %.
        limit: Regular expression of the series that are limits: red and dashed.
        steps: Thresholds, drawn as dashed lines.
        dashed: Regular expression of series whose lines are dashed.
        colors: Colours of series that mean something.
        axis: Its ends, unless a value lies outside; None fits the values.
    """
    mode = look.StackingMode.PERCENT if share else look.StackingMode.NORMAL
    panel = (
        headed(timeseries.Panel(), about)
        .targets([target(query, place) for place, query in enumerate(queries)])
        .unit(unit)
        .line_width(1)
        .fill_opacity(40 if stacked or share else 0)
        .show_points(look.VisibilityMode.NEVER)
        .stacking(
            common.StackingConfig().mode(mode if stacked or share else look.StackingMode.NONE)
        )
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(look.LegendDisplayMode.LIST)
            .placement(look.LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(look.TooltipDisplayMode.MULTI)
            .sort(look.SortOrder.DESCENDING)
        )
    )
    start, end = axis
    if start is not None:
        panel = panel.axis_soft_min(start)
    if end is not None:
        panel = panel.axis_soft_max(end)
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(look.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds(steps)).thresholds_style(style)
    if limit:
        panel = panel.override_by_regexp(f"/^({limit})/", _LIMIT)
    for name, color in (colors or {}).items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [model.DynamicConfigValue("color", fixed)])
    if dashed:
        panel = panel.override_by_regexp(f"/^({dashed})/", _LIMIT[1:3])
    return panel


_LIMIT: Final = [
    model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "red"}),
    model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
    model.DynamicConfigValue("custom.fillOpacity", 0),
    model.DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"}),
]


def states(
    about: About, *queries: Query, values: Values, steps: Steps = ()
) -> statetimeline.Panel:
    """Return a panel of bars in the colour of a state, one row a series.

    Args:
        about: What it says of itself.
        queries: Each series is a row.
        values: Texts and colours of the values.
        steps: Colours of values without a text.
    """
    return (
        headed(statetimeline.Panel(), about)
        .targets([target(query, place) for place, query in enumerate(queries)])
        .mappings([mapping(values)])
        .thresholds(thresholds(steps or PLAIN))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .show_value(look.VisibilityMode.NEVER)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(80)
        .merge_values(True)
        .legend(
            common.VizLegendOptions()
            .show_legend(bool(values))
            .display_mode(look.LegendDisplayMode.LIST)
            .placement(look.LegendPlacement.BOTTOM)
        )
    )
