#!/usr/bin/env python3
"""What programs do with the official Python client, against the server of a kubeconfig: typed and dynamic kinds, patches, apply,
watches, pages, reviews and deletions. An assertion that fails ends it with its text; the last line says that all is well."""

import sys
import threading
import uuid

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException

GROUP = "python.edge.test"


def refused(code, reason, ask, *arguments, **keywords):
    """Asks what has to be refused."""
    try:
        ask(*arguments, **keywords)
    except ApiException as refusal:
        assert refusal.status == code, f"{refusal.status} instead of {code}: {refusal.body}"
        assert f'"reason":"{reason}"' in refusal.body.replace(" ", ""), refusal.body
        return
    raise AssertionError(f"{ask} was not refused")


def config_maps(core, namespace):
    """Typed objects, from their making to their end."""
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one", labels={"app": "a"}), data={"k": "v"})
    made = core.create_namespaced_config_map(namespace, body)
    assert made.metadata.uid and made.metadata.creation_timestamp
    refused(409, "AlreadyExists", core.create_namespaced_config_map, namespace, body)
    patched = core.patch_namespaced_config_map("one", namespace, {"data": {"l": "w"}})
    assert patched.data == {"k": "v", "l": "w"}
    assert int(patched.metadata.resource_version) > int(made.metadata.resource_version)
    made.data = {"k": "x"}
    refused(409, "Conflict", core.replace_namespaced_config_map, "one", namespace, made)
    patched.data = {"k": "x"}
    assert core.replace_namespaced_config_map("one", namespace, patched).data == {"k": "x"}
    operations = [{"op": "add", "path": "/data/m", "value": "y"}]
    assert core.patch_namespaced_config_map("one", namespace, operations).data == {"k": "x", "m": "y"}
    for number in range(5):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"page-{number}", "labels": {"app": "p"}}})
    seen, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="app=p", limit=2, _continue=token)
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert seen == [f"page-{number}" for number in range(5)], seen
    core.delete_collection_namespaced_config_map(namespace, label_selector="app=p")
    assert not core.list_namespaced_config_map(namespace, label_selector="app=p").items
    core.delete_namespaced_config_map("one", namespace)
    refused(404, "NotFound", core.read_namespaced_config_map, "one", namespace)
    refused(422, "Invalid", core.create_namespaced_config_map, namespace, {"metadata": {"name": "Not_A_Name"}})


def watches(core, namespace):
    """A watch from a version tells what happens after it, in order."""
    start = core.list_namespaced_secret(namespace).metadata.resource_version

    def write():
        core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
        core.patch_namespaced_secret("s", namespace, {"stringData": {"c": "d"}})
        core.delete_namespaced_secret("s", namespace)

    writer = threading.Thread(target=write)
    writer.start()
    told, stream = [], watch.Watch()
    for event in stream.stream(core.list_namespaced_secret, namespace, resource_version=start, timeout_seconds=60):
        told.append((event["type"], sorted(event["object"].data)))
        if event["type"] == "DELETED":
            stream.stop()
    writer.join()
    assert told == [("ADDED", ["a"]), ("MODIFIED", ["a", "c"]), ("DELETED", ["a", "c"])], told


def custom_resources(api, namespace):
    """A definition, and objects of it by the generic and by the dynamic client."""
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"}
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 9}, "colour": {"type": "string", "default": "red"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    extensions = client.ApiextensionsV1Api(api)
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"gadgets.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    extensions.create_custom_resource_definition(definition)
    stream = watch.Watch()
    for event in stream.stream(extensions.list_custom_resource_definition, timeout_seconds=60):
        conditions = event["object"].status.conditions or []
        if event["object"].metadata.name == f"gadgets.{GROUP}" and any(c.type == "Established" and c.status == "True" for c in conditions):
            stream.stop()
    generic = client.CustomObjectsApi(api)
    place = (GROUP, "v1", namespace, "gadgets")
    gadget = {"apiVersion": f"{GROUP}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 3}}
    assert generic.create_namespaced_custom_object(*place, gadget)["spec"] == {"size": 3, "colour": "red"}
    gadget["spec"]["size"] = 10
    refused(422, "Invalid", generic.patch_namespaced_custom_object, *place, "g", gadget)
    told = generic.patch_namespaced_custom_object_status(*place, "g", {"status": {"phase": "Ready"}})
    assert told["status"] == {"phase": "Ready"} and told["metadata"]["generation"] == 1

    kinds = dynamic.DynamicClient(api)
    gadgets = kinds.resources.get(api_version=f"{GROUP}/v1", kind="Gadget")
    applied = gadgets.server_side_apply(
        {"apiVersion": f"{GROUP}/v1", "kind": "Gadget", "metadata": {"name": "h"}, "spec": {"size": 1}},
        name="h", namespace=namespace, field_manager="python",
    )
    assert applied.spec.size == 1
    assert [item.metadata.name for item in gadgets.get(namespace=namespace).items] == ["g", "h"]
    extensions.delete_custom_resource_definition(f"gadgets.{GROUP}")


def workloads(api, core, namespace):
    """What a manifest holds, made by the client's own reader of manifests."""
    manifest = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": {
            "metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}}},
    }
    utils.create_from_dict(api, manifest)
    apps = client.AppsV1Api(api)
    assert apps.read_namespaced_deployment_scale("d", namespace).spec.replicas == 2
    apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 5}})
    deployment = apps.read_namespaced_deployment("d", namespace)
    assert deployment.spec.replicas == 5
    assert deployment.spec.template.spec.restart_policy == "Always"
    image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "example.com/i:2"}]}}}}
    assert apps.patch_namespaced_deployment("d", namespace, image).spec.template.spec.containers[0].image == "example.com/i:2"
    apps.delete_namespaced_deployment("d", namespace)
    event = client.EventsV1Api(api).create_namespaced_event(namespace, {
        "metadata": {"name": "e"}, "regarding": {"kind": "Deployment", "name": "d", "namespace": namespace},
        "eventTime": "2026-11-23T00:00:00.000001Z", "action": "Do", "reason": "Done", "type": "Normal", "note": "n",
        "reportingController": "edge.test/python", "reportingInstance": "i"})
    assert event.note == "n"
    assert core.list_namespaced_event(namespace).items[0].message == "n"


def access(api, core, namespace):
    """Reviews, and tokens of accounts."""
    reviews = client.AuthorizationV1Api(api)
    question = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(namespace=namespace, verb="get", resource="configmaps")))
    assert reviews.create_self_subject_access_review(question).status.allowed
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
    review = client.AuthenticationV1Api(api).create_token_review({"spec": {"token": token}})
    assert review.status.authenticated
    assert review.status.user.username == f"system:serviceaccount:{namespace}:robot"


def main():
    api = config.new_client_from_config(sys.argv[1])
    core = client.CoreV1Api(api)
    assert client.VersionApi(api).get_code().git_version.startswith("v1.")
    namespace = f"python-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": namespace}})
    config_maps(core, namespace)
    watches(core, namespace)
    custom_resources(api, namespace)
    workloads(api, core, namespace)
    access(api, core, namespace)
    core.delete_namespace(namespace)
    print(f"the official Python client works ({namespace})")


if __name__ == "__main__":
    main()
