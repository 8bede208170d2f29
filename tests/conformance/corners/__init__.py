"""More requests that are sent to both servers: what people and programs do rarely, and get wrong."""

from cases import Case, found

from . import controllers, definitions, kinds, objects, requests


def cases(namespace):
    """All requests, in a namespace and a group of their own."""
    group = f"{namespace}.example.com"
    space = f"/api/v1/namespaces/{namespace}"
    return [
        Case("corners: a namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}),
        Case("corners: its account", "GET", f"{space}/serviceaccounts/default", until=found),
        *requests.bodies(space),
        *requests.requests(space),
        *requests.negotiation(space),
        *requests.pages(space),
        *requests.watches(space),
        *requests.deletions(space),
        *requests.patches(space),
        *definitions.definitions(group),
        *objects.parts(group, namespace),
        *objects.applies(group, namespace),
        *definitions.rules(group, namespace),
        *definitions.versions(group, namespace),
        *kinds.workloads(namespace),
        *kinds.columns(),
        *kinds.access(space, namespace),
        *controllers.policies(space, namespace),
        *controllers.owners(space, namespace),
        *controllers.endings(space, namespace),
    ]
