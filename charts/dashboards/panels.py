"""Parts of dashboards: queries, panels, variables, and the frame that all dashboards share."""

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def target(expression, legend="", **more):
    """A query. Tables and single figures ask for the newest value (`instant=True`)."""
    return {"datasource": DATASOURCE, "expr": expression, "legendFormat": legend, **more}


def panel(kind, title, description, unit, targets, *, width=8, height=8, options=None, custom=None, **defaults):
    """A panel; `defaults` go to the field configuration, such as min, max, decimals, thresholds or links."""
    targets = [{**one, "refId": chr(ord("A") + index)} for index, one in enumerate(targets)]
    field = {"unit": unit, "custom": custom or {}, **defaults}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": field, "overrides": []},
        "options": options or {},
        "gridPos": {"w": width, "h": height},
    }


def graph(title, description, unit, *targets, stacked=False, **more):
    """Lines over time."""
    custom = {"lineWidth": 1, "fillOpacity": 20 if stacked else 5, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    more.setdefault("min", 0)
    return panel("timeseries", title, description, unit, targets, options=options, custom=custom, **more)


def figure(title, description, unit, *targets, width=4, height=4, good_above=None, bad_above=None, **more):
    """The newest value, large. It is red from `bad_above`, or below `good_above`."""
    steps = [{"color": "blue", "value": None}]
    if good_above is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": good_above}]
    if bad_above is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": bad_above}]
    targets = [{**one, "instant": True} for one in targets]
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "textMode": "auto"}
    thresholds = {"mode": "absolute", "steps": steps}
    return panel(
        "stat",
        title,
        description,
        unit,
        targets,
        width=width,
        height=height,
        options=options,
        thresholds=thresholds,
        **more,
    )


def table(title, description, *columns, key, width=COLUMNS, height=8):
    """A row for each value of the labels `key`; columns are (name, unit, expression)."""
    targets = [target(expression, instant=True, format="table") for _, _, expression in columns]
    shown = panel("table", title, description, "none", targets, width=width, height=height)
    names = {
        f"Value #{chr(ord('A') + index)}" if len(columns) > 1 else "Value": name
        for index, (name, _, _) in enumerate(columns)
    }
    shown["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, unit, _ in columns
    ]
    order = {name: index for index, name in enumerate([*key, *names.values()])}
    shown["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names, "indexByName": order}},
    ]
    return shown


def variable(name, label, query, *, several=True):
    """A variable with the values of a label."""
    everything = {"includeAll": True, "multi": True, "allValue": ".+", "current": {"text": "All", "value": "$__all"}}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        **(everything if several else {"includeAll": False, "multi": False}),
    }


SERVICE = variable("service", "Service", "label_values(edgeloom_service_objective_ratio, service)")
ONE_SERVICE = variable("service", "Service", "label_values(edgeloom_service_objective_ratio, service)", several=False)
NODE = variable("node", "Node", "label_values(edgeloom_node_reachable, node)")
PEER = variable("peer", "Peer", "label_values(edgeloom_link_nominal_rate_bytes_per_second, peer)")


def dashboard(uid, title, description, variables, panels):
    """A whole dashboard; panels are laid out in their order."""
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    column, top, row_height = 0, 0, 0
    for number, one in enumerate(panels, start=1):
        place = one["gridPos"]
        if column + place["w"] > COLUMNS:
            column, top, row_height = 0, top + row_height, 0
        place.update(x=column, y=top)
        one["id"] = number
        column, row_height = column + place["w"], max(row_height, place["h"])
    return {
        "uid": f"edgeloom-{uid}",
        "title": f"Edgeloom / {title}",
        "description": description,
        "tags": ["edgeloom"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "Edgeloom",
                "type": "dashboards",
                "tags": ["edgeloom"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [datasource, *variables]},
        "panels": panels,
    }


def quantile(share, metric, matchers, by):
    """A quantile of a histogram."""
    labels = ", ".join([*by, "le"])
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{matchers}[$__rate_interval])))"
