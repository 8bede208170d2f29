"""Writes the Grafana dashboards into the folder that is named; `make generate` runs it.

    python3 charts/dashboards charts/edgeloom/files/dashboards

Each dashboard is a module that lists its panels in rows of 24 columns. What all have in common (data source, variables, links
between them, layout) is in `panels`, so that an expression, its unit and its description stand together.
"""

import json
import pathlib
import sys

import fleet
import links
import nodes
import pipeline
import services
import solver

DASHBOARDS = (fleet, services, pipeline, nodes, links, solver)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for module in DASHBOARDS:
        text = json.dumps(module.make(), indent=2, ensure_ascii=False)
        (folder / f"{module.__name__}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
