// Draws one board with Grafana's own widgets from answers of a real Prometheus, as `window.SHOWN`
// holds them. Grafana's state timeline is not published on npm: a plain strip stands for it.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  DataFrame, FieldConfigSource, FieldType, GrafanaTheme2, PanelPlugin, ThemeContext,
  applyFieldOverrides, createTheme, dateTime, getFieldDisplayValues, identityOverrideProcessor,
  standardFieldConfigEditorRegistry, standardTransformers,
  standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import {
  BigValue, BigValueColorMode, BigValueGraphMode, BigValueTextMode, GlobalStyles, PanelChrome, PortalContainer,
  Table, TimeSeries, useTheme2,
} from '@grafana/ui';

const shown = (window as any).SHOWN;
const CELL = 38, GAP = 8, MARGIN = 16;
const times = { from: dateTime(shown.start * 1000), to: dateTime(shown.end * 1000) };
const range = { ...times, raw: times };

const STANDARD = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'links', 'color', 'thresholds', 'mappings', 'filterable'];
// JSON has no infinity: Grafana, too, restores it where a board is loaded.
JSON.stringify(shown.board, (key, value) => {
  if (key === 'steps') value.forEach((step: any) => { step.value = step.value ?? -Infinity; });
  return value;
});
const known = (id: string, path: string): any => ({
  id, path, name: id, editor: () => null, override: () => null, process: identityOverrideProcessor, shouldApply: () => true,
});
standardFieldConfigEditorRegistry.setInit(() => STANDARD.map((id) => known(id, id)));
standardTransformersRegistry.setInit(() => [...new Map(Object.values(standardTransformers).map((each: any) => [each.id, each])).values()].map((each: any) => (
  { id: each.id, name: each.name, transformation: each, editor: () => null } as any)));

// Any custom property that a board sets is known: which there are is the plugins' secret.
const customs = new Set<string>();
JSON.stringify(shown.board, (key, value) => {
  if (key === 'custom' && value) Object.keys(value).forEach((name) => customs.add(name));
  if (key === 'id' && typeof value === 'string' && value.startsWith('custom.')) customs.add(value.slice(7));
  return value;
});
const registry = new PanelPlugin(() => null).useFieldConfig({
  useCustomConfig: (builder: any) => customs.forEach((path) => builder.addCustomEditor(known(path, path))),
}).fieldConfigRegistry;

function legend(format: string, metric: any): string {
  return format.replace(/\{\{(\w+)\}\}/g, (_, name) => metric[name] ?? '').trim() || JSON.stringify(metric);
}

function frames(panel: any): DataFrame[] {
  const answers = panel.targets.filter((target: any) => shown.answers[panel.id]?.[target.refId]);
  if (panel.type === 'table') {
    const found = answers.filter((target: any) => shown.answers[panel.id][target.refId].length);
    return found.map((target: any) => {
      const rows = shown.answers[panel.id][target.refId];
      const labels = [...new Set(rows.flatMap((row: any) => Object.keys(row.metric)))].sort() as string[];
      const value = panel.targets.length > 1 ? `Value #${target.refId}` : 'Value';
      return toDataFrame({ refId: target.refId, fields: [
        { name: 'Time', type: FieldType.time, values: rows.map((row: any) => row.value[0] * 1000) },
        ...labels.map((name) => ({
          name, type: FieldType.string, config: { filterable: true }, values: rows.map((row: any) => row.metric[name] ?? ''),
        })),
        { name: value, type: FieldType.number, values: rows.map((row: any) => Number(row.value[1])) },
      ] });
    });
  }
  return answers.flatMap((target: any) => shown.answers[panel.id][target.refId].map((series: any) => {
    const at = new Map((series.values ?? [series.value]).map(([time, value]: any) => [time, Number(value)]));
    const axis = [];
    for (let time = shown.start; time <= shown.end; time += shown.step) axis.push(time);
    return toDataFrame({ refId: target.refId, fields: [
      { name: 'Time', type: FieldType.time, values: axis.map((time) => time * 1000) },
      { name: 'Value', type: FieldType.number, labels: series.metric, values: axis.map((time) => at.get(time) ?? null),
        config: { displayNameFromDS: legend(target.legendFormat, series.metric) } },
    ] });
  }));
}

function prepared(panel: any, theme: GrafanaTheme2): DataFrame[] {
  let found = frames(panel);
  const done = transformDataFrame(panel.transformations ?? [], found, { interpolate: (text: string) => text } as any);
  done.subscribe((result: DataFrame[]) => { found = result; });
  return applyFieldOverrides({
    data: found, fieldConfig: panel.fieldConfig as FieldConfigSource, fieldConfigRegistry: registry,
    replaceVariables: (text: string) => text, theme, timeZone: 'utc',
  });
}

function Numbers({ panel, data, width, height, theme }: any) {
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, data, sparkline: true,
    replaceVariables: (text: string) => text, theme, timeZone: 'utc',
  });
  return <div style={{ display: 'flex', gap: 4 }}>{values.map((each: any, place: number) => (
    <BigValue key={place} value={each.display}
      sparkline={each.sparkline} width={width / values.length - 4} height={height} theme={theme}
      colorMode={panel.options.colorMode as BigValueColorMode} graphMode={panel.options.graphMode as BigValueGraphMode}
      textMode={BigValueTextMode.Auto} count={values.length} />))}</div>;
}

function States({ data, width, height }: any) {
  const name = 190, row = Math.min(26, height / Math.max(data.length, 1));
  return <svg width={width} height={height} fontSize={12}>{data.map((frame: DataFrame, place: number) => {
    const field = frame.fields[1], step = (width - name) / field.values.length;
    return <g key={place}>
      <text x={name - 8} y={place * row + row * 0.65} textAnchor="end" fill="currentColor">{field.config.displayNameFromDS}</text>
      {field.values.map((value: any, index: number) => value === null ? null : <rect key={index} x={name + index * step}
        y={place * row + 2} width={step + 0.5} height={row - 4} fill={field.display!(value).color} />)}
    </g>;
  })}</svg>;
}

function Body({ panel, width, height }: any) {
  const theme = useTheme2();
  const data = prepared(panel, theme);
  if (!data.length || !data.some((frame) => frame.length)) {
    if (panel.type !== 'stat') return <div style={{ textAlign: 'center', paddingTop: height / 2 - 16 }}>No data</div>;
  }
  if (panel.type === 'stat') return <Numbers {...{ panel, data, width, height, theme }} />;
  if (panel.type === 'table') return <Table data={data[0]} width={width} height={height} cellHeight={panel.options.cellHeight}
    initialSortBy={panel.options.sortBy} showTypeIcons={false} />;
  if (panel.type === 'state-timeline') return <States {...{ data, width, height }} />;
  return <TimeSeries frames={data} width={width} height={height} timeRange={range} timeZone="utc" theme={theme}
    legend={panel.options.legend} structureRev={1}>{() => null}</TimeSeries>;
}

function Board() {
  const theme = useTheme2();
  const unit = (window.innerWidth - 2 * MARGIN + GAP) / 24;
  const panels = shown.board.panels.map((panel: any) => ({ ...panel, gridPos: { x: 0, y: 0, ...panel.gridPos } }));
  const end = Math.max(...panels.map((panel: any) => panel.gridPos.y + panel.gridPos.h));
  return <div style={{ position: 'relative', height: 52 + end * CELL + 8, color: theme.colors.text.primary, background: theme.colors.background.canvas }}>
    <div style={{ padding: '12px 16px', display: 'flex', gap: 10, alignItems: 'center' }}>
      <b style={{ fontSize: 18, marginRight: 12 }}>{shown.board.title}</b>
      {shown.board.templating.list.filter((each: any) => each.hide !== 2).map((each: any) => (
        <span key={each.name} style={{ border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '4px 8px', fontSize: 12, background: theme.colors.background.primary }}>
          {each.label} <b>{each.type === 'datasource' ? 'Prometheus' : shown.choices[each.name]}</b></span>))}
    </div>
    {panels.map((panel: any) => {
      const { x, y, w, h } = panel.gridPos;
      const box = { position: 'absolute' as const, left: MARGIN + x * unit, top: 52 + y * CELL };
      if (panel.type === 'row') return <div key={panel.id} style={{ ...box, fontWeight: 500, paddingTop: 6 }}>
        {panel.collapsed ? '›' : '⌄'} {panel.title}</div>;
      return <div key={panel.id} style={box}>
        <PanelChrome title={panel.title} description={panel.description} width={w * unit - GAP} height={h * CELL - GAP}>
          {(width: number, height: number) => <Body {...{ panel, width, height }} />}
        </PanelChrome></div>;
    })}
  </div>;
}

const theme = createTheme({ colors: { mode: shown.theme } });
createRoot(document.getElementById('board')!).render(
  <ThemeContext.Provider value={theme}><GlobalStyles /><Board /><PortalContainer /></ThemeContext.Provider>);
