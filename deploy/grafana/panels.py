"""Grafana's JSON for the few kinds of panels that our dashboards use (schema version 39: Grafana 10.1 and
later). A panel's place comes from the order in which a dashboard lists it."""

from dataclasses import dataclass, field

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Stands for the selector of the variables: alcca_x{@} and alcca_x{@,reason="stop"}.
SELECTOR = 'job=~"$job",instance=~"$instance"'
GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"


@dataclass
class Query:
    expr: str
    legend: str = ""
    instant: bool = False


@dataclass
class Panel:
    kind: str  # timeseries, stat, heatmap, table
    title: str
    description: str
    unit: str
    queries: list
    width: int = 8
    height: int = 8
    steps: tuple = ((GREEN, None),)  # thresholds: (colour, from where on)
    stacked: bool = False
    log: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    dashed: tuple = ()  # names of series drawn as limits


@dataclass
class Row:
    title: str
    panels: list = field(default_factory=list)


def lines(title, description, unit, *queries, **options):
    return Panel("timeseries", title, description, unit, list(queries), **options)


def stat(title, description, unit, expr, **options):
    return Panel("stat", title, description, unit, [Query(expr)], **{"width": 4, "height": 4, **options})


def heatmap(title, description, histogram, **options):
    expr = f"sum by (le) (increase({histogram}_bucket{{@}}[$__rate_interval]))"
    return Panel("heatmap", title, description, "s", [Query(expr, "{{le}}")], **options)


def quantiles(histogram, *shares):
    return [Query(f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{@}}"
                  "[$__rate_interval])))", f"p{100 * share:g}") for share in shares]


def _targets(panel):
    out = []
    for i, query in enumerate(panel.queries):
        target = {"datasource": DATASOURCE, "editorMode": "code",
                  "expr": query.expr.replace("@", SELECTOR), "refId": chr(ord("A") + i)}
        if query.legend:
            target["legendFormat"] = query.legend
        if panel.kind == "table":
            target.update(format="table", instant=True, range=False)
        elif panel.kind == "heatmap":
            target.update(format="heatmap", range=True)
        else:
            target["range"] = True
        out.append(target)
    return out


def _custom(panel):
    return {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never", "spanNulls": False,
            "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(panel.steps) > 1 else "off"}}


def _field_config(panel):
    defaults = {"unit": panel.unit,
                "thresholds": {"mode": "absolute",
                               "steps": [{"color": c, "value": v} for c, v in panel.steps]},
                "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"}}
    if panel.minimum is not None and not panel.log and panel.kind in ("timeseries", "stat"):
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.kind == "timeseries":
        defaults["custom"] = _custom(panel)
    overrides = [{"matcher": {"id": "byName", "options": name},
                  "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
                                 {"id": "custom.fillOpacity", "value": 0}]} for name in panel.dashed]
    return {"defaults": defaults, "overrides": overrides}


def _options(panel):
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "orientation": "auto", "textMode": "auto", "colorMode": "value", "graphMode": "area",
                "justifyMode": "auto"}
    if panel.kind == "heatmap":
        return {"calculate": False, "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5,
                          "fill": "dark-orange", "reverse": False, "scale": "exponential"},
                "yAxis": {"axisPlacement": "left", "reverse": False, "unit": panel.unit},
                "rowsFrame": {"layout": "auto"}, "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
                "filterValues": {"le": 1e-9}, "exemplars": {"color": "rgba(255,0,255,0.7)"},
                "showValue": "never", "cellValues": {}}
    return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}


def _panel(panel, number, x, y):
    out = {"id": number, "type": panel.kind, "title": panel.title, "description": panel.description,
           "datasource": DATASOURCE, "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
           "targets": _targets(panel), "fieldConfig": _field_config(panel), "options": _options(panel)}
    if panel.kind == "table":
        hidden = {name: True for name in ("Time", "Value", "__name__")}
        out["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return out


def _variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE,
            "definition": query, "query": {"query": query, "refId": "variable"}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".+", "hide": 0, "regex": "", "options": [],
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}


def _templating():
    return {"list": [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
         "refresh": 1, "regex": "", "hide": 0, "multi": False, "includeAll": False, "options": [],
         "current": {}},
        _variable("job", "Job", "label_values(alcca_build_info, job)"),
        _variable("instance", "Daemon", 'label_values(alcca_build_info{job=~"$job"}, instance)')]}


def dashboard(uid, title, description, rows):
    """The dashboard as Grafana imports it; panels flow left to right, 24 columns wide."""
    panels, y, number = [], 0, 1
    for row in rows:
        panels.append({"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        number, y, x, height = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > 24:
                x, y, height = 0, y + height, 0
            panels.append(_panel(panel, number, x, y))
            number, x, height = number + 1, x + panel.width, max(height, panel.height)
        y += height
    return {"uid": uid, "title": title, "description": description, "tags": ["alcca"],
            "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"}, "timezone": "", "fiscalYearStartMonth": 0,
            "timepicker": {}, "liveNow": False, "weekStart": "",
            "annotations": {"list": [
                {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True,
                 "hide": True, "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts",
                 "type": "dashboard"},
                {"datasource": DATASOURCE, "enable": True, "iconColor": "red", "name": "Alerts that fire",
                 "expr": 'ALERTS{alertname=~"Alcca.*",alertstate="firing",severity="page"}',
                 "titleFormat": "{{alertname}}", "textFormat": "{{instance}}", "step": "30s"}]},
            "links": [{"type": "dashboards", "tags": ["alcca"], "title": "alcca", "asDropdown": False,
                       "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "",
                       "tooltip": "", "url": ""}],
            "templating": _templating(), "panels": panels}
