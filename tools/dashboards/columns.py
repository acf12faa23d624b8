"""Tables of the newest values."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query_model
from tools.dashboards.parts import (
    PLAIN,
    About,
    Query,
    Steps,
    Values,
    headed,
    mapping,
    ref,
    target,
    thresholds,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """One column of a table.

    Attributes:
        title: Its head.
        expr: Query of its values; empty for a label of the others.
        label: Label that it shows; empty for the values of the query.
        unit: Grafana's name of the unit.
        steps: When it takes which colour; none: uncoloured.
        filled: The cell is coloured, not the text.
        gauge: The cell shows a bar as well; the value at its end.
        values: Texts and colours of values.
        width: Pixels; 0 shares the rest.
        hidden: Only links use it.
        links: Where a click leads.
        decimals: Digits after the point.
        centered: The text stands in the middle.
    """

    title: str
    expr: str = ""
    label: str = ""
    unit: str = ""
    steps: Steps = ()
    filled: bool = False
    gauge: float = 0
    values: Values | None = None
    width: int = 0
    hidden: bool = False
    links: Sequence[dashboard.DashboardLink] = ()
    decimals: int | None = None
    centered: bool = False


def _properties(column: Column) -> list[model.DynamicConfigValue]:
    found: dict[str, object] = {}
    if column.unit:
        found["unit"] = column.unit
    if column.decimals is not None:
        found["decimals"] = column.decimals
    if column.centered:
        found["custom.align"] = "center"
    if column.width:
        found["custom.width"] = column.width
    if column.hidden:
        found["custom.hidden"] = True
    if column.values:
        found["mappings"] = [mapping(column.values)]
    if column.steps:
        found["thresholds"] = thresholds(column.steps).build()
    if column.gauge:
        found |= {"min": 0, "max": column.gauge}
        found["custom.cellOptions"] = look.TableBarGaugeCellOptions(
            look.BarGaugeDisplayMode.BASIC, look.BarGaugeValueMode.TEXT
        )
    elif column.filled:
        found["custom.cellOptions"] = look.TableColoredBackgroundCellOptions(
            look.TableCellBackgroundDisplayMode.BASIC
        )
    elif column.steps:
        found["custom.cellOptions"] = look.TableColorTextCellOptions()
    if column.links:
        found["links"] = [link.build() for link in column.links]
    return [model.DynamicConfigValue(name, value) for name, value in found.items()]


def table(
    about: About, *columns: Column, sort: Sequence[str] = (), rising: bool = False, empty: str = ""
) -> tables.Panel:
    """Return a table of the newest values: one row for each set of labels.

    Args:
        about: What it says of itself.
        columns: From left to right; labels without a column are left out.
        sort: Titles of the columns that order the rows, the largest first.
        rising: The smallest come first.
        empty: What a cell without a value shows.
    """
    asked = [column for column in columns if column.expr]
    values = {
        column: f"Value #{ref(place)}" if len(asked) > 1 else "Value"
        for place, column in enumerate(asked)
    }
    names = {column.title: column.label or values[column] for column in columns}
    unseen = ["Time", *(values[column] for column in asked if column.label)]
    options = {
        "excludeByName": dict.fromkeys(unseen, True),
        "indexByName": {name: place for place, name in enumerate(names.values())},
        "renameByName": {name: title for title, name in names.items()},
    }
    panel = (
        headed(tables.Panel(), about)
        .targets(
            [
                target(Query(column.expr), place)
                .instant()
                .format(query_model.PromQueryFormat.TABLE)
                for place, column in enumerate(asked)
            ]
        )
        .transformations(
            [
                model.DataTransformerConfig("merge", options={}),
                model.DataTransformerConfig("organize", options=options),
            ]
        )
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(PLAIN))
        .cell_height(look.TableCellHeight.SM)
        .no_value(empty)
        .filterable(True)
    )
    for column in columns:
        if properties := _properties(column):
            panel = panel.override_by_name(column.title, properties)
    order = [common.TableSortByFieldState().display_name(title).desc(not rising) for title in sort]
    return panel.sort_by(list(order)) if order else panel
