"""The requests that are sent to both servers, in this order: later ones build on what earlier ones made."""

import dataclasses
import re
import time

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

# Differences that are meant, by what they look like.
MEANT = [
    # Columns are described in our own words.
    r"columnDefinitions\[\d+\]\.description",
    # Each server has an authority of its own, which another program tells namespaces of there.
    r"data\.ca\.crt",
    r'managedFields\[0\]\.manager: ours "kube-apiserver", theirs "kube-controller-manager"',
    # A hint for migrations of stored versions, which kubectl does not read.
    r"storageVersionHash",
]


@dataclasses.dataclass
class Case:
    """A request, and what is known of its answers."""

    name: str
    method: str
    # The path and the body may be functions of the answers so far, by the names of their cases.
    path: object
    body: object = None
    media_type: str = JSON
    accept: str = ""
    # Other headers.
    headers: dict = dataclasses.field(default_factory=dict)
    # Differences that are meant for this request, as expressions.
    meant: tuple = ()
    # Upstream tells the causes in the order of a Go map, which changes from one answer to the next.
    any_order: bool = False
    # Asked again until this holds, for what a controller does in its own time.
    until: object = None

    def expects(self, line):
        return any(re.search(one, line) for one in (*MEANT, *self.meant))

    def settle(self, ask):
        """The answer, once it is settled; a minute is more than any controller takes."""
        deadline = time.monotonic() + 60
        answer = ask(self)
        while self.until and not self.until(answer) and time.monotonic() < deadline:
            time.sleep(0.1)
            answer = ask(self)
        return answer


def definition(group):
    """A custom resource definition with most of what a schema can say."""
    spec = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "colour": {"type": "string", "enum": ["red", "green"], "default": "red"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
            "port": {"x-kubernetes-int-or-string": True},
            "when": {"type": "string", "format": "date-time"},
            "maybe": {"type": "string", "nullable": True},
            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set", "maxItems": 4},
            "parts": {
                "type": "array", "maxItems": 5, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object", "required": ["name"],
                    "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 1}},
                },
            },
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "replicas": {"type": "integer"},
        },
        "x-kubernetes-validations": [
            {"rule": "self.size < 9", "message": "too large"},
            {"rule": "!has(oldSelf.name) || self.name == oldSelf.name", "message": "name is immutable"},
            {"rule": "!has(self.replicas) || self.replicas <= self.size", "message": "too many",
             "fieldPath": ".replicas", "reason": "FieldValueForbidden"},
        ],
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "shortNames": ["tg"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1", "served": True, "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                    "selectableFields": [{"jsonPath": ".spec.colour"}],
                    "additionalPrinterColumns": [
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
                        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                },
                {
                    "name": "v1beta1", "served": True, "storage": False, "deprecated": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                },
            ],
        },
    }


def established(answer):
    if answer["code"] != 200:
        return False
    conditions = answer["body"].get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def found(answer):
    return answer["code"] == 200


def gone(answer):
    return answer["code"] == 404


def cases(namespace):
    """All requests, in a namespace and a group of their own."""
    group = f"{namespace}.example.com"
    space = f"/api/v1/namespaces/{namespace}"
    return [
        *discovery(),
        Case("a namespace is made", "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}),
        Case("it is read", "GET", space),
        Case("its account", "GET", f"{space}/serviceaccounts/default", until=found),
        *config_maps(space, namespace),
        *secrets(space),
        *mistakes(space),
        *patches(space),
        *applies(space),
        *definitions(group),
        *things(f"/apis/{group}/v1/namespaces/{namespace}/things", f"/apis/{group}/v1beta1/namespaces/{namespace}/things"),
        *workloads(namespace),
        *access(namespace),
        *tables(space, namespace, group),
        *deletions(space, group),
    ]


def discovery():
    return [
        Case("unknown group", "GET", "/apis/nobody.example.com"),
        Case("unknown resource", "GET", "/api/v1/nothings"),
        Case("unknown path", "GET", "/nothing"),
        Case("core versions", "GET", "/api", meant=(r"serverAddressByClientCIDRs",)),
        Case("a group", "GET", "/apis/coordination.k8s.io", meant=(r"versions",)),
        Case("leases", "GET", "/apis/coordination.k8s.io/v1"),
        Case("authentication", "GET", "/apis/authentication.k8s.io/v1"),
        Case("events", "GET", "/apis/events.k8s.io/v1"),
        Case("definitions", "GET", "/apis/apiextensions.k8s.io/v1"),
        Case("networking", "GET", "/apis/networking.k8s.io/v1", meant=(r"resources",)),
        Case("rbac", "GET", "/apis/rbac.authorization.k8s.io/v1"),
        Case("apps", "GET", "/apis/apps/v1"),
        Case("batch", "GET", "/apis/batch/v1"),
        Case("autoscaling v2", "GET", "/apis/autoscaling/v2"),
        Case("certificates", "GET", "/apis/certificates.k8s.io/v1"),
        Case("readiness", "GET", "/readyz"),
    ]


def config_maps(space, namespace):
    maps = f"{space}/configmaps"
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": {"app": "a"}}, "data": {"k": "v"}}
    return [
        Case("a map in a dry run", "POST", f"{maps}?dryRun=All", one),
        Case("no map after it", "GET", f"{maps}/one"),
        Case("a map is made", "POST", maps, one),
        Case("again", "POST", maps, one),
        Case("it is read", "GET", f"{maps}/one"),
        Case("its metadata", "GET", f"{maps}/one", accept=METADATA),
        Case("a name that is none", "POST", maps, {"metadata": {"name": "Not_A_Name"}}),
        Case("no name", "POST", maps, {"metadata": {}}),
        Case("a generated name", "POST", f"{maps}?dryRun=All", {"metadata": {"generateName": "g-"}},
             meant=(r"metadata\.name",)),
        Case("a key that is none", "POST", maps, {"metadata": {"name": "two"}, "data": {"a/b": "c"}}),
        Case("a label that is none", "POST", maps, {"metadata": {"name": "two", "labels": {"a": "b c"}}}),
        Case("an annotation's key that is none", "POST", maps, {"metadata": {"name": "two", "annotations": {"a b": "c"}}}),
        Case("an owner without a name", "POST", maps, {"metadata": {"name": "two", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "", "uid": "u"}]}}),
        Case("two controllers", "POST", maps, {"metadata": {"name": "two", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u", "controller": True},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "w", "controller": True}]}}),
        Case("a bare finalizer", "POST", f"{maps}?dryRun=All", {"metadata": {"name": "two", "finalizers": ["bare"]}}),
        Case("another namespace in the body", "POST", maps, {"metadata": {"name": "two", "namespace": "other"}}),
        Case("another kind in the body", "POST", maps, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "two"}}),
        Case("another version in the body", "POST", maps, {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "two"}}),
        Case("a version in a new object", "POST", maps, {"metadata": {"name": "two", "resourceVersion": "5"}}),
        Case("data of the wrong type", "POST", maps, {"metadata": {"name": "two"}, "data": {"a": 1}}),
        Case("data that is no map", "POST", maps, {"metadata": {"name": "two"}, "data": ["a"]}),
        Case("unknown field, strict", "POST", f"{maps}?fieldValidation=Strict", {"metadata": {"name": "two"}, "zz": 1}),
        Case("unknown field, warned of", "POST", f"{maps}?dryRun=All", {"metadata": {"name": "two"}, "zz": 1}),
        Case("doubled field, strict", "POST", f"{maps}?fieldValidation=Strict",
             '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"two"},"data":{"a":"1","a":"2"}}'),
        Case("unknown validation", "POST", f"{maps}?fieldValidation=Some", {"metadata": {"name": "two"}}),
        Case("unknown dry run", "POST", f"{maps}?dryRun=Some", {"metadata": {"name": "two"}}),
        Case("a missing namespace", "POST", "/api/v1/namespaces/missing-here/configmaps", one),
        Case("an update", "PUT", f"{maps}/one", {**one, "data": {"k": "w"}}),
        Case("an update that changes nothing", "PUT", f"{maps}/one", {**one, "data": {"k": "w"}}),
        Case("an update of an old version", "PUT", f"{maps}/one",
             {**one, "metadata": {"name": "one", "resourceVersion": "1"}}),
        Case("an update of another name", "PUT", f"{maps}/one", {"metadata": {"name": "two"}}),
        Case("an update of another identity", "PUT", f"{maps}/one", {"metadata": {"name": "one", "uid": "other"}}),
        Case("an update of nothing", "PUT", f"{maps}/nothing", {"metadata": {"name": "nothing"}}),
        Case("made immutable", "POST", maps, {"metadata": {"name": "fixed"}, "immutable": True, "data": {"a": "1"}}),
        Case("changed all the same", "PATCH", f"{maps}/fixed", {"data": {"a": "2"}}, MERGE),
        Case("no longer immutable", "PATCH", f"{maps}/fixed", {"immutable": False}, MERGE),
        Case("a list by label", "GET", f"{maps}?labelSelector=app%3Da"),
        Case("a list by name", "GET", f"{maps}?fieldSelector=metadata.name%3Done"),
        Case("by an unknown field", "GET", f"{maps}?fieldSelector=spec.x%3Done"),
        Case("by a selector that is none", "GET", f"{maps}?labelSelector=a%20b%20c"),
        Case("a continuation that is none", "GET", f"{maps}?continue=nonsense"),
        Case("a version that is none", "GET", f"{maps}?resourceVersion=abc"),
        Case("a version from the future", "GET", f"{maps}?resourceVersion=99999999&resourceVersionMatch=NotOlderThan",
             meant=(r"details\.causes|retryAfterSeconds",)),
        Case("a match without a version", "GET", f"{maps}?resourceVersionMatch=Exact"),
        Case("an unknown match", "GET", f"{maps}?resourceVersion=1&resourceVersionMatch=Some"),
        Case("initial events of a list", "GET", f"{maps}?sendInitialEvents=true"),
        Case("a limit that is none", "GET", f"{maps}?limit=many"),
        Case("a watch with a match", "GET", f"{maps}?watch=true&resourceVersionMatch=Exact&timeoutSeconds=1"),
        Case("a method that is none", "POST", f"{maps}/one", one),
        Case("a body that is no JSON", "POST", maps, "{"),
        Case("an empty body", "POST", maps, ""),
        Case("a body of an unknown type", "POST", maps, "<x/>", "application/xml"),
        Case("an answer of an unknown type", "GET", f"{maps}/one", accept="application/xml",
             # What answers are written in: JSON here, for which every client asks too.
             meant=(r"body\.message",)),
        Case("as YAML", "POST", f"{maps}?dryRun=All", "metadata:\n  name: yaml\ndata:\n  a: b\n", "application/yaml"),
    ]


def secrets(space):
    path = f"{space}/secrets"
    return [
        Case("a secret of texts", "POST", path, {"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
        Case("it is read", "GET", f"{path}/s"),
        Case("another type", "PATCH", f"{path}/s", {"type": "other"}, MERGE),
        Case("no base64", "POST", path, {"metadata": {"name": "t"}, "data": {"a": "*"}}),
        Case("a certificate without a key", "POST", path, {"metadata": {"name": "t"}, "type": "kubernetes.io/tls"}),
        Case("by type", "GET", f"{path}?fieldSelector=type%3DOpaque"),
    ]


def mistakes(space):
    leases = space.replace("/api/v1", "/apis/coordination.k8s.io/v1") + "/leases"
    return [
        Case("a lease", "POST", leases, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}),
        Case("a lease's duration", "POST", leases, {"metadata": {"name": "m"}, "spec": {"leaseDurationSeconds": 0}}),
        Case("an update without a version", "PUT", f"{leases}/l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "you"}}),
        Case("a lease by update", "PUT", f"{leases}/n", {"metadata": {"name": "n"}, "spec": {"holderIdentity": "you"}}),
        Case("a namespace that is a label", "POST", "/api/v1/namespaces", {"metadata": {"name": "a.b"}}),
        Case("the default namespace stays", "DELETE", "/api/v1/namespaces/default"),
    ]


def patches(space):
    one = f"{space}/configmaps/one"
    return [
        Case("a merge", "PATCH", one, {"data": {"k": None, "l": "x"}}, MERGE),
        Case("a merge that is no object", "PATCH", one, "[]", MERGE),
        Case("a merge that is no JSON", "PATCH", one, "{", MERGE),
        Case("an unknown field", "PATCH", f"{one}?fieldValidation=Strict", {"zz": 1}, MERGE),
        Case("force without apply", "PATCH", f"{one}?force=true", {"data": {}}, MERGE),
        Case("a test and an addition", "PATCH", one,
             [{"op": "test", "path": "/data/l", "value": "x"}, {"op": "add", "path": "/data/m", "value": "y"}], PATCH),
        Case("a test that fails", "PATCH", one, [{"op": "test", "path": "/data/l", "value": "z"}], PATCH),
        Case("a test of nothing for null", "PATCH", one, [{"op": "test", "path": "/metadata/finalizers", "value": None}], PATCH),
        Case("a removal of nothing", "PATCH", one, [{"op": "remove", "path": "/data/nothing"}], PATCH),
        Case("an unknown operation", "PATCH", one, [{"op": "jump", "path": "/data"}], PATCH),
        Case("a patch that is no list", "PATCH", one, {"op": "add"}, PATCH),
        Case("a strategic merge", "PATCH", one, {"metadata": {"labels": {"b": "c"}}}, STRATEGIC),
        Case("a strategic replacement", "PATCH", one, {"data": {"$patch": "replace", "only": "this"}}, STRATEGIC),
        Case("an unknown directive", "PATCH", one, {"data": {"$patch": "explode"}}, STRATEGIC),
        Case("a patch of another version", "PATCH", one, {"metadata": {"resourceVersion": "1"}}, MERGE),
        Case("a patch of the name", "PATCH", one, {"metadata": {"name": "two"}}, MERGE),
        Case("an unknown type", "PATCH", one, {"data": {}}, "application/json"),
        Case("a patch of nothing", "PATCH", f"{space}/configmaps/nothing", {"data": {}}, MERGE),
    ]


def applies(space):
    applied = f"{space}/configmaps/applied"

    def body(**data):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}

    return [
        Case("without a manager", "PATCH", applied, body(a="1"), APPLY),
        Case("made by apply", "PATCH", f"{applied}?fieldManager=one", body(a="1", b="1"), APPLY),
        Case("the same again", "PATCH", f"{applied}?fieldManager=one", body(a="1", b="1"), APPLY),
        Case("a conflict", "PATCH", f"{applied}?fieldManager=two", body(a="2"), APPLY),
        Case("two conflicts", "PATCH", f"{applied}?fieldManager=two", body(a="2", b="2"), APPLY),
        Case("forced", "PATCH", f"{applied}?fieldManager=two&force=true", body(a="2"), APPLY),
        Case("shared", "PATCH", f"{applied}?fieldManager=three", body(a="2"), APPLY),
        Case("a field less", "PATCH", f"{applied}?fieldManager=one", body(), APPLY),
        Case("managed fields in the body", "PATCH", f"{applied}?fieldManager=one",
             {**body(), "metadata": {"name": "applied", "managedFields": [{"manager": "x"}]}}, APPLY),
        Case("another name", "PATCH", f"{applied}?fieldManager=one", {**body(), "metadata": {"name": "other"}}, APPLY),
        Case("no kind", "PATCH", f"{applied}?fieldManager=one", {"apiVersion": "v1", "metadata": {"name": "applied"}}, APPLY),
        Case("another kind", "PATCH", f"{applied}?fieldManager=one",
             {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "applied"}}, APPLY),
        Case("an unknown field", "PATCH", f"{applied}?fieldManager=one", {**body(), "zz": 1}, APPLY),
        Case("a doubled field", "PATCH", f"{applied}?fieldManager=one&fieldValidation=Strict",
             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata:\n  a: p\n  a: q\n", APPLY, any_order=True),
        Case("a wrong type", "PATCH", f"{applied}?fieldManager=one", {**body(), "data": {"a": 1}}, APPLY),
        Case("an identity of nothing", "PATCH", f"{space}/configmaps/absent?fieldManager=one",
             {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "absent", "uid": "u"}}, APPLY),
        Case("in a dry run", "PATCH", f"{applied}?fieldManager=four&dryRun=All", body(c="1"), APPLY),
        Case("it is read", "GET", applied),
    ]


def definitions(group):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    name = f"things.{group}"
    bad = definition(group)
    bad["spec"]["versions"][0]["schema"] = {}
    untyped = definition(group)
    untyped["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": {"properties": {"a": {}}}}
    wrong_name = definition(group)
    wrong_name["metadata"]["name"] = f"others.{group}"
    no_storage = definition(group)
    no_storage["spec"]["versions"][0]["storage"] = False
    wrong_rule = definition(group)
    wrong_rule["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [
        {"rule": "self.nothing > 1"}]
    costly = definition(group)
    costly["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["long"] = {
        "type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b != c)))"}],
    }
    own_words = (r"message", r"causes")
    dry = f"{path}?dryRun=All"
    return [
        Case("no schema", "POST", dry, bad),
        Case("a node without a type", "POST", dry, untyped),
        Case("a name of its own", "POST", dry, wrong_name),
        # Upstream quotes its internal form of all versions, two thousand letters; here it is their names.
        Case("no storage version", "POST", dry, no_storage, meant=(r"body\.message", r"causes\[0\]\.message")),
        Case("a rule that does not compile", "POST", dry, wrong_rule, meant=own_words),
        Case("a rule that may cost too much", "POST", dry, costly, meant=own_words),
        Case("a definition", "POST", path, definition(group)),
        Case("it is established", "GET", f"{path}/{name}", until=established),
        Case("its discovery", "GET", f"/apis/{group}/v1", until=found),
        Case("its group", "GET", f"/apis/{group}"),
    ]


def things(path, old):
    def thing(metadata_name="t", **spec):
        return {"kind": "Thing", "apiVersion": path[len("/apis/"):].split("/namespaces")[0],
                "metadata": {"name": metadata_name}, "spec": spec}

    one = f"{path}/t"
    return [
        Case("too small", "POST", path, thing(size=0)),
        Case("too large", "POST", path, thing(size=11)),
        Case("by its rule", "POST", path, thing(size=9)),
        Case("a missing field", "POST", path, thing()),
        Case("a wrong type", "POST", path, thing(size="1")),
        Case("an unknown value", "POST", path, thing(size=1, colour="blue")),
        Case("a pattern", "POST", path, thing(size=1, name="A")),
        Case("too long", "POST", path, thing(size=1, name="abcdefghijkl")),
        Case("a format", "POST", path, thing(size=1, when="today")),
        Case("a doubled item", "POST", path, thing(size=1, tags=["a", "a"])),
        Case("too many items", "POST", path, thing(size=1, tags=["a", "b", "c", "d", "e"])),
        Case("a doubled key", "POST", path, thing(size=1, parts=[{"name": "a"}, {"name": "a"}])),
        Case("an item without its key", "POST", path, thing(size=1, parts=[{"count": 2}])),
        Case("a rule with a field", "POST", path, thing(size=1, replicas=2)),
        Case("several mistakes", "POST", path, thing(size=0, colour="blue", tags=["a", "a"]), any_order=True),
        Case("an unknown field, strict", "POST", f"{path}?fieldValidation=Strict", thing(size=1, zz=1)),
        Case("an unknown field, warned of", "POST", f"{path}?dryRun=All", thing(size=1, zz=1)),
        Case("a thing", "POST", path, thing(size=5, maybe=None, any={"x": 1}, port="http", tags=["a"], parts=[{"name": "a"}])),
        Case("it is read", "GET", one),
        Case("in the old version", "GET", f"{old}/t"),
        Case("by its field", "GET", f"{path}?fieldSelector=spec.colour%3Dred"),
        Case("by another field", "GET", f"{path}?fieldSelector=spec.size%3D5"),
        Case("an update without a version", "PUT", one, thing(size=6)),
        Case("a merge", "PATCH", one, {"spec": {"size": 6, "name": "abc"}}, MERGE),
        Case("a transition rule", "PATCH", one, {"spec": {"name": "abd"}}, MERGE),
        Case("a strategic merge", "PATCH", one, {"spec": {"size": 7}}, STRATEGIC),
        Case("an unknown field in a patch", "PATCH", f"{one}?fieldValidation=Strict", {"spec": {"zz": 1}}, MERGE),
        Case("its status", "PATCH", f"{one}/status", {"status": {"phase": "Good"}, "spec": {"size": 1}, "metadata": {"labels": {"a": "b"}}}, MERGE),
        Case("its scale", "GET", f"{one}/scale"),
        Case("scaled", "PATCH", f"{one}/scale", {"spec": {"replicas": 3}}, MERGE),
        Case("scaled too far", "PATCH", f"{one}/scale", {"spec": {"replicas": 30}}, MERGE),
        Case("an apply", "PATCH", f"{one}?fieldManager=a", thing(size=6, parts=[{"name": "b", "count": 2}]), APPLY, meant=(r"managedFields",)),
        Case("an apply in conflict", "PATCH", f"{one}?fieldManager=b", thing(size=7, parts=[{"name": "b", "count": 3}]), APPLY, any_order=True),
        Case("an apply of an unknown field", "PATCH", f"{one}?fieldManager=a", thing(size=6, zz=1), APPLY),
        Case("an apply with a doubled key", "PATCH", f"{one}?fieldManager=a",
             thing(size=6, parts=[{"name": "b"}, {"name": "b"}]), APPLY),
        Case("an apply of a wrong type", "PATCH", f"{one}?fieldManager=a", thing(size="six"), APPLY),
        Case("a subresource that is none", "GET", f"{one}/nothing"),
    ]


def template(**more):
    return {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}], **more}}


def workloads(namespace):
    apps, batch = f"/apis/apps/v1/namespaces/{namespace}", f"/apis/batch/v1/namespaces/{namespace}"
    core, selector = f"/api/v1/namespaces/{namespace}", {"matchLabels": {"app": "a"}}
    dry = "?dryRun=All"
    return [
        Case("a deployment", "POST", f"{apps}/deployments{dry}",
             {"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template()}}),
        Case("a daemon set", "POST", f"{apps}/daemonsets{dry}",
             {"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template()}}),
        Case("a stateful set", "POST", f"{apps}/statefulsets{dry}",
             {"metadata": {"name": "d"}, "spec": {"serviceName": "s", "selector": selector, "template": template()}}),
        Case("a replica set", "POST", f"{apps}/replicasets{dry}",
             {"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template()}}),
        Case("a job", "POST", f"{batch}/jobs{dry}", {"metadata": {"name": "j"}, "spec": {"template": template(restartPolicy="Never")}},
             meant=(r"labels|matchLabels|controller-uid",)),
        Case("a cron job", "POST", f"{batch}/cronjobs{dry}", {"metadata": {"name": "j"}, "spec": {
            "schedule": "* * * * *", "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}}}}),
        Case("a service", "POST", f"{core}/services{dry}", {"metadata": {"name": "s"}, "spec": {
            "selector": {"app": "a"}, "ports": [{"port": 80}]}},
             # Nothing here routes to services: an address would lead nowhere.
             meant=(r"clusterIP", r"ipFamil")),
        Case("a pod", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": template()["spec"]}),
        Case("a pod's probes and volumes", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}, {"name": "w", "configMap": {"name": "m"}}, {"name": "x"}],
            "containers": [{
                "name": "c", "image": "example.com/i", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"tcpSocket": {"port": 80}},
                "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            }]}}),
        Case("a pod disruption budget", "POST", f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets{dry}",
             {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": selector}}),
        Case("an ingress", "POST", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses{dry}", {"metadata": {"name": "i"}, "spec": {
            "rules": [{"host": "a.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        Case("a network policy", "POST", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies{dry}",
             {"metadata": {"name": "n"}, "spec": {"podSelector": {}}}),
        Case("a priority class", "POST", f"/apis/scheduling.k8s.io/v1/priorityclasses{dry}", {"metadata": {"name": f"p-{namespace}"}, "value": 5}),
        Case("a deployment without a selector", "POST", f"{apps}/deployments{dry}", {"metadata": {"name": "d"}, "spec": {"template": template()}}),
        Case("a deployment that selects others", "POST", f"{apps}/deployments{dry}", {"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"app": "b"}}, "template": template()}}),
        Case("a pod without containers", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {"containers": []}}),
    ]


def access(namespace):
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    review = "/apis/authorization.k8s.io/v1"
    return [
        Case("a role", "POST", f"{group}/roles", {"metadata": {"name": "r"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}),
        Case("a role without verbs", "POST", f"{group}/roles", {"metadata": {"name": "q"}, "rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
        Case("a binding", "POST", f"{group}/rolebindings", {"metadata": {"name": "b"},
             "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
        Case("a binding of another role", "PATCH", f"{group}/rolebindings/b", {"roleRef": {"name": "other"}}, MERGE),
        Case("may the user read", "POST", f"{review}/subjectaccessreviews", {"spec": {"user": "u", "resourceAttributes": {
            "namespace": namespace, "verb": "get", "resource": "configmaps"}}}, meant=(r"status\.reason",), until=lambda answer: answer["body"].get("status", {}).get("allowed")),
        Case("may the user write", "POST", f"{review}/subjectaccessreviews", {"spec": {"user": "u", "resourceAttributes": {
            "namespace": namespace, "verb": "update", "resource": "configmaps"}}}, meant=(r"status\.reason",)),
        Case("may I", "POST", f"{review}/selfsubjectaccessreviews", {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}, meant=(r"status\.reason",)),
        Case("a review that asks nothing", "POST", f"{review}/selfsubjectaccessreviews", {"spec": {}}),
        Case("a token that is none", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}, meant=(r"status\.error",)),
        Case("a token", "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", {"spec": {"expirationSeconds": 3600}},
             meant=(r"audiences",)),
        Case("a token that is too short", "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", {"spec": {"expirationSeconds": 1}}),
        Case("an account", "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "a"}}),
    ]


def tables(space, namespace, group):
    things = f"/apis/{group}/v1/namespaces/{namespace}/things"
    return [
        Case("maps", "GET", f"{space}/configmaps?labelSelector=app%3Da", accept=TABLE, meant=(r"cells",)),
        Case("a map's row", "GET", f"{space}/configmaps/one", accept=TABLE, meant=(r"cells",)),
        Case("with its object", "GET", f"{space}/configmaps/one?includeObject=Object", accept=TABLE, meant=(r"cells",)),
        Case("without it", "GET", f"{space}/configmaps/one?includeObject=None", accept=TABLE, meant=(r"cells",)),
        Case("with something else", "GET", f"{space}/configmaps/one?includeObject=Half", accept=TABLE),
        Case("things", "GET", things, accept=TABLE, meant=(r"cells\[3\]",)),
        Case("secrets", "GET", f"{space}/secrets", accept=TABLE, meant=(r"cells\[3\]",)),
        Case("metadata of maps", "GET", f"{space}/configmaps?labelSelector=app%3Da", accept=METADATA_LIST),
        Case("metadata of things", "GET", things, accept=METADATA_LIST),
        Case("metadata of one in the form of a list", "GET", f"{space}/configmaps/one", accept=METADATA_LIST),
    ]


def deletions(space, group):
    maps = f"{space}/configmaps"
    return [
        Case("held", "POST", maps, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}),
        Case("another identity", "DELETE", f"{maps}/held", {"preconditions": {"uid": "other"}}, meant=(r"message",)),
        Case("an unknown policy", "DELETE", f"{maps}/held?propagationPolicy=Some"),
        Case("both ways", "DELETE", f"{maps}/held", {"orphanDependents": True, "propagationPolicy": "Orphan"}),
        Case("a dry run", "DELETE", f"{maps}/held?dryRun=All"),
        Case("waits", "DELETE", f"{maps}/held"),
        Case("another finalizer", "PATCH", f"{maps}/held", {"metadata": {"finalizers": ["example.com/hold", "example.com/new"]}}, MERGE),
        Case("let go", "PATCH", f"{maps}/held", {"metadata": {"finalizers": None}}, MERGE),
        Case("gone", "GET", f"{maps}/held"),
        Case("at once", "DELETE", f"{maps}/fixed"),
        Case("again", "DELETE", f"{maps}/fixed"),
        Case("a collection", "DELETE", f"{maps}?labelSelector=app%3Da"),
        Case("the definition", "DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}"),
        Case("the definition is gone", "GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}", until=gone),
        Case("the namespace", "DELETE", space, meant=(r"status\.conditions",)),
        Case("the namespace is gone", "GET", space, until=gone),
    ]
