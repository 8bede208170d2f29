"""Bodies, paths, parameters, media types, pages, watches, deletions and patches."""

import base64
import json
import urllib.parse

from cases import APPLY, MERGE, METADATA, PATCH, STRATEGIC, TABLE, Case, found

YAML = "application/yaml"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def bodies(space):
    """What a body may be, and what is wrong with it."""
    maps, dry = f"{space}/configmaps", f"{space}/configmaps?dryRun=All"
    text = '{"metadata":{"name":"b"},%s}'
    named = {"metadata": {"name": "b"}}
    deep = '{"metadata":{"name":"b"},"data":' + "[" * 12000 + "]" * 12000 + "}"
    return [
        Case("a list for a body", "POST", dry, "[]"),
        Case("a text for a body", "POST", dry, '"a"'),
        Case("null for a body", "POST", dry, "null"),
        Case("a number for a body", "POST", dry, "1"),
        Case("two documents", "POST", dry, '{"metadata":{"name":"b"}}{}'),
        Case("blanks around it", "POST", dry, ' \n {"metadata":{"name":"b"}} \n '),
        Case("a byte order mark", "POST", dry, '\ufeff{"metadata":{"name":"b"}}'.encode()),
        Case("no UTF-8", "POST", dry, b'{"metadata":{"name":"b"},"data":{"a":"\xff\xfe"}}'),
        Case("half a surrogate", "POST", dry, text % '"data":{"a":"\\ud800"}'),
        Case("a zero byte", "POST", dry, text % '"data":{"a":"\\u0000"}'),
        Case("a doubled field, warned of", "POST", dry, text % '"data":{"a":"1","a":"2"}'),
        Case("a doubled field, ignored", "POST", f"{dry}&fieldValidation=Ignore", text % '"data":{"a":"1","a":"2"}'),
        Case("a field in another case", "POST", dry, text % '"Data":{"a":"1"}'),
        Case("a number for a text", "POST", dry, {"metadata": {"name": 1}}),
        Case("null for a field", "POST", dry, {**named, "data": None, "immutable": None}),
        Case("null for a label", "POST", dry, {"metadata": {"name": "b", "labels": {"a": None}}}),
        Case("null for an entry", "POST", dry, {**named, "data": {"a": None}}),
        Case("a text for a truth", "POST", dry, {**named, "immutable": "true"}),
        Case("deep nesting", "POST", dry, deep),
        Case("NaN", "POST", dry, text % '"data":{"a":NaN}'),
        Case("a leading zero", "POST", dry, text % '"immutable":01'),
        Case("a comma too many", "POST", dry, '{"metadata":{"name":"b"},}'),
        Case("a comment", "POST", dry, '{"metadata":{"name":"b"} /* x */}'),
        Case("single quotes", "POST", dry, "{'metadata':{'name':'b'}}"),
        Case("an escape that is none", "POST", dry, text % '"data":{"a":"\\x"}'),
        Case("a tab in a text", "POST", dry, text % '"data":{"a":"\t"}'),
        Case("metadata that is a list", "POST", dry, {"metadata": []}),
        Case("metadata that is null", "POST", dry, {"metadata": None}),
        Case("metadata that is a text", "POST", dry, {"metadata": "x"}),
        Case("labels that are a list", "POST", dry, {"metadata": {"name": "b", "labels": []}}),
        Case("finalizers that are a text", "POST", dry, {"metadata": {"name": "b", "finalizers": "x"}}),
        Case("a time that is none", "POST", dry, {"metadata": {"name": "b", "creationTimestamp": "today"}}),
        Case("a time of birth", "POST", dry, {"metadata": {"name": "b", "creationTimestamp": "2001-01-01T00:00:00Z"}}),
        Case("a deletion of its own", "POST", dry, {"metadata": {"name": "b", "deletionTimestamp": "2001-01-01T00:00:00Z"}}),
        Case("a generation that is a text", "POST", dry, {"metadata": {"name": "b", "generation": "1"}}),
        Case("a generation with a fraction", "POST", dry, text % '"metadata":{"name":"b","generation":1.5}'),
        Case("a generation with an exponent", "POST", dry, '{"metadata":{"name":"b","generation":1e2}}'),
        Case("a generation without end", "POST", dry, '{"metadata":{"name":"b","generation":9223372036854775808}}'),
        Case("a long label", "POST", dry, {"metadata": {"name": "b", "labels": {"a": "x" * 64}}}),
        Case("a long label's key", "POST", dry, {"metadata": {"name": "b", "labels": {"x" * 64: "a"}}}),
        Case("a label's key with two slashes", "POST", dry, {"metadata": {"name": "b", "labels": {"a/b/c": "a"}}}),
        Case("a label's key without a name", "POST", dry, {"metadata": {"name": "b", "labels": {"a.com/": "a"}}}),
        Case("a label's key with a wrong prefix", "POST", dry, {"metadata": {"name": "b", "labels": {"A_b/c": "a"}}}),
        Case("an empty label's key", "POST", dry, {"metadata": {"name": "b", "labels": {"": "a"}}}),
        Case("large annotations", "POST", dry, {"metadata": {"name": "b", "annotations": {"a": "x" * (257 << 10)}}}),
        Case("a large map", "POST", dry, {**named, "data": {"a": "x" * (1 << 20)}}),
        Case("a large secret", "POST", f"{space}/secrets?dryRun=All", {**named, "data": {"a": base64.b64encode(b"x" * (1 << 20)).decode()}}),
        Case("data and binary data of one name", "POST", dry, {**named, "data": {"a": "x"}, "binaryData": {"a": "eA=="}}),
        Case("binary data that is no base64", "POST", dry, {**named, "binaryData": {"a": "*"}}),
        Case("a key of dots", "POST", dry, {**named, "data": {"..": "x"}}),
        Case("a key with dots in front", "POST", dry, {**named, "data": {"..a": "x"}}),
        Case("a long key", "POST", dry, {**named, "data": {"k" * 254: "x"}}),
        Case("an empty key", "POST", dry, {**named, "data": {"": "x"}}),
        Case("a long name", "POST", dry, {"metadata": {"name": "n" * 254}}),
        Case("a name of 253", "POST", dry, {"metadata": {"name": "n" * 253}}),
        Case("an upper case name", "POST", dry, {"metadata": {"name": "B"}}),
        Case("a name with a slash", "POST", dry, {"metadata": {"name": "a/b"}}),
        Case("a name with a percent sign", "POST", dry, {"metadata": {"name": "a%b"}}),
        Case("a name that ends in a dot", "POST", dry, {"metadata": {"name": "a."}}),
        Case("a generated name that is none", "POST", dry, {"metadata": {"generateName": "B_"}}, meant=(r"metadata\.name|B_",)),
        Case("a generated name in a dry run", "POST", dry, {"metadata": {"generateName": "g-"}}, meant=(r"metadata\.name",)),
        Case("an owner without a kind", "POST", dry, {"metadata": {"name": "b", "ownerReferences": [{"apiVersion": "v1", "name": "a", "uid": "u"}]}}),
        Case("an owner without an identity", "POST", dry, {"metadata": {"name": "b", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}]}}),
        Case("an owner of an odd version", "POST", dry, {"metadata": {"name": "b", "ownerReferences": [
            {"apiVersion": "a/b/c", "kind": "ConfigMap", "name": "a", "uid": "u"}]}}),
        Case("an event for an owner", "POST", dry, {"metadata": {"name": "b", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "u"}]}}),
        Case("an owner twice", "POST", dry, {"metadata": {"name": "b", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}, {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}]}}),
        Case("a wrong finalizer", "POST", dry, {"metadata": {"name": "b", "finalizers": ["a b"]}}),
        Case("both deletion policies", "POST", dry, {"metadata": {"name": "b", "finalizers": ["orphan", "foregroundDeletion"]}}),
        Case("managed fields that are none", "POST", dry, {"metadata": {"name": "b", "managedFields": [{"manager": "x", "operation": "Jump"}]}}),
        Case("managed fields of no version", "POST", dry, {"metadata": {"name": "b", "managedFields": [
            {"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}}]}}),
        Case("a link to itself", "POST", dry, {"metadata": {"name": "b", "selfLink": "/x"}}),
        Case("a time to a lease", "POST", f"{space.replace('/api/v1', '/apis/coordination.k8s.io/v1')}/leases?dryRun=All",
             {**named, "spec": {"acquireTime": "2001-01-01T00:00:00Z", "renewTime": "2001-01-01T00:00:00.000001Z", "leaseTransitions": 0}}),
        Case("a wrong time to a lease", "POST", f"{space.replace('/api/v1', '/apis/coordination.k8s.io/v1')}/leases?dryRun=All",
             {**named, "spec": {"acquireTime": "yesterday"}}),
        Case("a lease without end", "POST", f"{space.replace('/api/v1', '/apis/coordination.k8s.io/v1')}/leases?dryRun=All",
             '{"metadata":{"name":"b"},"spec":{"leaseDurationSeconds":2147483648}}'),
        Case("a lease with a fraction", "POST", f"{space.replace('/api/v1', '/apis/coordination.k8s.io/v1')}/leases?dryRun=All",
             '{"metadata":{"name":"b"},"spec":{"leaseDurationSeconds":1.5}}'),
        Case("a whole number with a point", "POST", f"{space.replace('/api/v1', '/apis/coordination.k8s.io/v1')}/leases?dryRun=All",
             '{"metadata":{"name":"b"},"spec":{"leaseDurationSeconds":1.0}}'),
        Case("too large a body", "POST", dry, json.dumps({**named, "data": {"a": "x" * (4 << 20)}})),
        Case("YAML of several documents", "POST", dry, "metadata: {name: b}\n---\nmetadata: {name: c}\n", YAML, meant=(r"message",)),
        Case("YAML that is a text", "POST", dry, "hello\n", YAML, meant=(r"message",)),
        Case("YAML with an anchor", "POST", dry, "metadata: {name: b}\ndata: {a: &x y, b: *x}\n", YAML),
        Case("YAML's old truths", "POST", dry, "metadata: {name: b}\ndata: {a: yes}\n", YAML, meant=(r"message",)),
        Case("a map is made for the rest", "POST", maps, {"metadata": {"name": "one", "labels": {"app": "a"}}, "data": {"k": "v"}}),
    ]


def requests(space):
    """Methods, paths and parameters."""
    maps = f"{space}/configmaps"
    one = f"{maps}/one"
    return [
        Case("HEAD", "HEAD", one),
        Case("HEAD of nothing", "HEAD", f"{maps}/nothing"),
        Case("OPTIONS", "OPTIONS", one),
        Case("a verb that is none", "JUMP", one),
        Case("an update of a collection", "PUT", maps, {}),
        Case("a patch of a collection", "PATCH", maps, {}, MERGE),
        Case("a post to everywhere", "POST", "/api/v1/configmaps", {"metadata": {"name": "b"}}),
        Case("a deletion everywhere", "DELETE", "/api/v1/configmaps"),
        Case("a post to a group", "POST", "/api/v1", {}),
        Case("a post to the version", "POST", "/version", {}),
        Case("a deletion of all namespaces", "DELETE", "/api/v1/namespaces"),
        Case("a name below a resource", "GET", f"{one}/nothing"),
        Case("two names below a resource", "GET", f"{one}/nothing/more"),
        Case("a status of what has none", "GET", f"{one}/status"),
        Case("a scale of what has none", "GET", f"{one}/scale"),
        Case("a slash at the end", "GET", f"{maps}/"),
        Case("two slashes", "GET", f"{space}//configmaps/one"),
        Case("an escaped name", "GET", f"{maps}/%6fne"),
        Case("an escaped slash", "GET", f"{maps}/a%2Fb"),
        Case("upper case", "GET", f"{space}/ConfigMaps"),
        Case("the singular", "GET", f"{space}/configmap"),
        Case("the short name", "GET", f"{space}/cm"),
        Case("an unknown group's version", "GET", "/apis/apps/v9"),
        Case("an unknown resource of a group", "GET", "/apis/apps/v1/nothings"),
        Case("a group's path below", "GET", "/apis/apps"),
        Case("a cluster's resource in a namespace", "GET", f"{space}/nodes"),
        Case("a namespaced resource without one", "GET", "/api/v1/configmaps/one"),
        Case("a namespace that is not there", "GET", "/api/v1/namespaces/not-there/configmaps"),
        Case("an object of such a namespace", "GET", "/api/v1/namespaces/not-there/configmaps/x"),
        Case("an unknown parameter", "GET", f"{one}?zz=1"),
        Case("a parameter twice", "GET", f"{maps}?limit=1&limit=2&labelSelector=app%3Da"),
        Case("pretty", "GET", f"{one}?pretty=true"),
        Case("a negative limit", "GET", f"{maps}?limit=-1&labelSelector=app%3Da"),
        Case("a limit of nothing", "GET", f"{maps}?limit=0&labelSelector=app%3Da"),
        Case("a time-out that is none", "GET", f"{maps}?timeoutSeconds=soon"),
        Case("a watch that is none", "GET", f"{maps}?watch=maybe&timeoutSeconds=1"),
        Case("a version of one object", "GET", f"{one}?resourceVersion=0"),
        Case("a version of one object that is none", "GET", f"{one}?resourceVersion=x"),
        Case("a version of one object from the future", "GET", f"{one}?resourceVersion=99999999"),
        Case("a match for one object", "GET", f"{one}?resourceVersion=1&resourceVersionMatch=Exact"),
        Case("exactly version zero", "GET", f"{maps}?resourceVersion=0&resourceVersionMatch=Exact"),
        Case("not older than zero", "GET", f"{maps}?resourceVersion=0&resourceVersionMatch=NotOlderThan&labelSelector=app%3Da"),
        Case("not older than one", "GET", f"{maps}?resourceVersion=1&resourceVersionMatch=NotOlderThan&labelSelector=app%3Da"),
        Case("a negative version", "GET", f"{maps}?resourceVersion=-1"),
        Case("a selector of sets", "GET", f"{maps}?labelSelector=app%20in%20(a,b),!nothing,app%20notin%20(c),app"),
        Case("a selector of numbers", "GET", f"{maps}?labelSelector=app%3E1"),
        Case("an empty set", "GET", f"{maps}?labelSelector=app%20in%20()"),
        Case("two equal signs", "GET", f"{maps}?labelSelector=app%3D%3Da"),
        Case("a selector with a wrong value", "GET", f"{maps}?labelSelector=app%3Da_%25"),
        Case("a selector with a wrong key", "GET", f"{maps}?labelSelector=-x%3Da"),
        Case("a field that is not", "GET", f"{maps}?fieldSelector=metadata.name!%3Done&labelSelector=app%3Da"),
        Case("a field of sets", "GET", f"{maps}?fieldSelector=metadata.name%20in%20(one)"),
        Case("a field and its namespace", "GET", "/api/v1/configmaps?fieldSelector=metadata.name%3Done,metadata.namespace%3D" + space.rsplit("/", 1)[1]),
        Case("a field that is no pair", "GET", f"{maps}?fieldSelector=one"),
        Case("namespaces by phase", "GET", "/api/v1/namespaces?fieldSelector=status.phase%3DNothing"),
        Case("pods by node", "GET", f"{space}/pods?fieldSelector=spec.nodeName%3Dn,status.phase%3DRunning"),
        Case("pods by image", "GET", f"{space}/pods?fieldSelector=spec.image%3Dn"),
        Case("jobs by success", "GET", f"{space.replace('/api/v1', '/apis/batch/v1')}/jobs?fieldSelector=status.successful%3D1"),
        Case("sets by count", "GET", f"{space.replace('/api/v1', '/apis/apps/v1')}/replicasets?fieldSelector=status.replicas%3D1"),
        Case("nodes by use", "GET", "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue"),
        Case("events by all fields", "GET", f"{space}/events?fieldSelector=involvedObject.kind%3DPod,reason%3Dx,type%3DNormal,source%3Dy,reportingComponent%3Dz"),
        Case("events by another field", "GET", f"{space}/events?fieldSelector=message%3DPod"),
        Case("requests by signer", "GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Da.b/c"),
        Case("definitions by name", "GET", f"{DEFINITIONS}?fieldSelector=metadata.name%3Dnothing"),
        Case("services by type", "GET", f"{space}/services?fieldSelector=spec.type%3DNodePort,spec.clusterIP%3DNone"),
        Case("a dry run twice", "POST", f"{maps}?dryRun=All&dryRun=All", {"metadata": {"name": "b"}}),
        Case("an empty dry run", "POST", f"{maps}?dryRun=", {"metadata": {"name": "one"}}),
        Case("a manager that is too long", "POST", f"{maps}?dryRun=All&fieldManager={'m' * 129}", {"metadata": {"name": "b"}}),
        Case("a manager with an odd letter", "POST", f"{maps}?dryRun=All&fieldManager=a%00b", {"metadata": {"name": "b"}}),
        Case("a forced creation", "POST", f"{maps}?dryRun=All&force=true", {"metadata": {"name": "b"}}),
        Case("a force that is none", "PATCH", f"{one}?force=maybe&fieldManager=a", {"apiVersion": "v1", "kind": "ConfigMap"}, APPLY),
        Case("an update in a dry run", "PUT", f"{one}?dryRun=All", {"metadata": {"name": "one"}, "data": {"k": "w"}}),
        Case("an update without a name", "PUT", one, {"data": {}}),
        Case("an update in another namespace", "PUT", one, {"metadata": {"name": "one", "namespace": "other"}}),
        Case("an update with a version that is none", "PUT", one, {"metadata": {"name": "one", "resourceVersion": "x"}}),
        Case("an update of the past", "PUT", f"{one}?dryRun=All", {"metadata": {"name": "one", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}}),
        Case("an update that loses fields of others", "PUT", f"{one}?dryRun=All", {"metadata": {"name": "one", "managedFields": []}, "data": {"k": "w"}}),
        Case("a metric", "GET", "/metrics/nothing"),
        Case("readiness of nothing", "GET", "/readyz/nothing"),
        Case("liveness", "GET", "/livez"),
        Case("health", "GET", "/healthz"),
        Case("health of ping", "GET", "/healthz/ping"),
        Case("health without a check", "GET", "/livez?exclude=ping"),
        Case("an unknown document", "GET", "/openapi/v3/apis/nothing/v1"),
        Case("the root", "GET", "/", meant=(r"paths",)),
        Case("well known", "GET", "/.well-known/openid-configuration", meant=(r"body\.(issuer|jwks_uri)",)),
    ]


def negotiation(space):
    """Media types."""
    maps = f"{space}/configmaps"
    one, dry, body = f"{maps}/one", f"{maps}?dryRun=All", {"metadata": {"name": "b"}}
    return [
        Case("JSON with a character set", "POST", dry, body, "application/json; charset=utf-8"),
        Case("JSON in upper case", "POST", dry, body, "APPLICATION/JSON"),
        Case("JSON with a semicolon", "POST", dry, body, "application/json;"),
        Case("a form", "POST", dry, "a=b", "application/x-www-form-urlencoded"),
        Case("plain text", "POST", dry, "a", "text/plain"),
        Case("text for YAML", "POST", dry, "metadata: {name: b}\n", "text/yaml"),
        Case("a media type that is none", "POST", dry, body, "json"),
        Case("a body without a type", "POST", dry, body, ""),
        Case("protobuf that is none", "POST", dry, "hello", "application/vnd.kubernetes.protobuf", meant=(r"message",)),
        Case("CBOR", "POST", dry, "hello", "application/cbor"),
        Case("a patch with a character set", "PATCH", f"{one}?dryRun=All", {"data": {"z": "1"}}, f"{MERGE}; charset=utf-8"),
        Case("a patch without a type", "PATCH", f"{one}?dryRun=All", {"data": {}}, ""),
        Case("any answer", "GET", one, accept="*/*"),
        Case("any application", "GET", one, accept="application/*"),
        Case("preferences", "GET", one, accept="text/html;q=0.9, application/json;q=0.5"),
        Case("HTML", "GET", one, accept="text/html", meant=(r"message",)),
        Case("a browser", "GET", one, accept="text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        Case("JSON with parameters", "GET", one, accept="application/json;charset=utf-8"),
        Case("a table of another version", "GET", one, accept="application/json;as=Table;v=v2;g=meta.k8s.io", meant=(r"message",)),
        Case("a table or JSON", "GET", maps + "/one", accept="application/json;as=Nothing;v=v1;g=meta.k8s.io,application/json"),
        Case("a table of an error", "GET", f"{maps}/nothing", accept=TABLE),
        Case("metadata of a new object", "POST", dry, body, accept=METADATA),
        Case("a table of a new object", "POST", dry, body, accept=TABLE, meant=(r"cells",)),
        Case("YAML for an answer", "GET", one, accept=YAML, meant=(r".*",)),
        Case("a small answer in gzip", "GET", one, headers={"Accept-Encoding": "gzip"}),
        Case("a map for gzip", "POST", maps, {"metadata": {"name": "large", "labels": {"size": "large"}}, "data": {"a": "x" * (200 << 10)}}),
        Case("a large answer in gzip", "GET", f"{maps}/large", headers={"Accept-Encoding": "gzip"}),
        Case("a large answer as it is", "GET", f"{maps}/large", headers={"Accept-Encoding": "identity"}),
    ]


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


def token(version="meta.k8s.io/v1", revision=1, start="a\u0000"):
    return encoded({"v": version, "rv": revision, "start": start})


def pages(space):
    """Lists in pages."""
    maps = f"{space}/configmaps"

    def following(name, query=""):
        return lambda answers: f"{maps}?limit=1&continue={urllib.parse.quote(answers[name]['body']['metadata']['continue'])}{query}"

    def forged(**fields):
        return f"{maps}?limit=1&continue={token(**fields)}"

    return [
        Case("the first page", "GET", f"{maps}?limit=1"),
        Case("the second page", "GET", following("the first page")),
        Case("the third page", "GET", following("the second page")),
        Case("a page with a version", "GET", following("the first page", "&resourceVersion=1")),
        Case("a page with version zero", "GET", following("the first page", "&resourceVersion=0")),
        Case("a page with a match", "GET", following("the first page", "&resourceVersionMatch=Exact")),
        Case("a page of a selection", "GET", following("the first page", "&labelSelector=size%3Dlarge")),
        Case("a first page of a selection", "GET", f"{maps}?limit=1&labelSelector=size%3Dlarge"),
        Case("a first page as a table", "GET", f"{maps}?limit=1", accept=TABLE, meant=(r"cells",)),
        Case("a first page at version zero", "GET", f"{maps}?limit=1&resourceVersion=0", meant=(r"items|continue|remainingItemCount",)),
        Case("a token of another version", "GET", forged(version="v2")),
        Case("a token without a revision", "GET", forged(revision=0)),
        Case("a token of a negative revision", "GET", forged(revision=-5)),
        Case("a token from the future", "GET", forged(revision=1 << 40)),
        Case("a token without a start", "GET", forged(start="")),
        Case("a token that climbs", "GET", forged(start="../../secrets/")),
        Case("a token with a slash", "GET", forged(start="/x", revision=-1)),
        Case("a token that goes on", "GET", forged(start="one\u0000", revision=-1), meant=(r"items",)),
        Case("a token that is a list", "GET", f"{maps}?limit=1&continue={encoded([])}"),
        Case("a token of wrong types", "GET", forged(revision="x")),
        Case("a token that is no base64", "GET", f"{maps}?limit=1&continue=***"),
    ]


def watches(space):
    """Watches that end by themselves."""
    maps = f"{space}/configmaps"
    by_name = "fieldSelector=metadata.name%3Done"
    calm = (r"BOOKMARK", r"annotations")
    return [
        Case("a watch from the beginning", "GET", f"{maps}?watch=1&{by_name}&timeoutSeconds=2"),
        Case("a watch from version zero", "GET", f"{maps}?watch=1&resourceVersion=0&{by_name}&timeoutSeconds=2"),
        Case("a watch of one object", "GET", f"{maps}/one?watch=1&timeoutSeconds=2"),
        Case("a watch by its old path", "GET", f"{space.replace('/api/v1', '/api/v1/watch')}/configmaps?{by_name}&timeoutSeconds=2"),
        Case("a watch of one by its old path", "GET", f"{space.replace('/api/v1', '/api/v1/watch')}/configmaps/one?timeoutSeconds=2"),
        Case("a watch as a table", "GET", f"{maps}?watch=1&{by_name}&timeoutSeconds=2", accept=TABLE, meant=(r"cells",)),
        Case("a watch of metadata", "GET", f"{maps}?watch=1&{by_name}&timeoutSeconds=2", accept=METADATA),
        Case("a watch from a version that is none", "GET", f"{maps}?watch=1&resourceVersion=x&timeoutSeconds=2"),
        Case("a watch from the future", "GET", f"{maps}?watch=1&resourceVersion=99999999&timeoutSeconds=2"),
        Case("a watch with initial events", "GET",
             f"{maps}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&{by_name}&timeoutSeconds=2", meant=calm),
        Case("initial events without a match", "GET", f"{maps}?watch=1&sendInitialEvents=true&timeoutSeconds=2"),
        Case("initial events of another match", "GET", f"{maps}?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1&timeoutSeconds=2"),
        Case("a watch with a limit", "GET", f"{maps}?watch=1&limit=1&{by_name}&timeoutSeconds=2"),
        Case("a watch with a continuation", "GET", f"{maps}?watch=1&continue=x&{by_name}&timeoutSeconds=2"),
        Case("a watch of an unknown field", "GET", f"{maps}?watch=1&fieldSelector=a%3Db&timeoutSeconds=2"),
        Case("a watch of nothing", "GET", f"{space}/nothings?watch=1&timeoutSeconds=2"),
        Case("a watch with a negative end", "GET", f"{maps}?watch=1&{by_name}&timeoutSeconds=-1&resourceVersion=x"),
    ]


def deletions(space):
    """Options of deletion."""
    maps = f"{space}/configmaps"
    one = f"{maps}/one?dryRun=All"
    return [
        Case("a body that is no options", "DELETE", one, "["),
        Case("options of another kind", "DELETE", one, {"apiVersion": "v1", "kind": "ConfigMap"}),
        Case("options in YAML", "DELETE", one, "dryRun: [All]\npropagationPolicy: Background\n", YAML),
        Case("options with an unknown field", "DELETE", one, {"dryRun": ["All"], "zz": 1}),
        Case("options of a wrong type", "DELETE", one, {"dryRun": ["All"], "gracePeriodSeconds": "soon"}),
        Case("a negative grace", "DELETE", f"{one}&gracePeriodSeconds=-1"),
        Case("a grace that is none", "DELETE", f"{one}&gracePeriodSeconds=soon"),
        Case("a version that is not", "DELETE", one, {"dryRun": ["All"], "preconditions": {"resourceVersion": "1"}}),
        Case("a dry run in the body", "DELETE", f"{maps}/one", {"dryRun": ["All"]}),
        Case("an unknown dry run in the body", "DELETE", f"{maps}/one", {"dryRun": ["Some"]}),
        Case("orphans by a parameter", "DELETE", f"{one}&orphanDependents=true"),
        Case("to the foreground", "DELETE", f"{one}&propagationPolicy=Foreground"),
        Case("a deletion of nothing with a condition", "DELETE", f"{maps}/nothing", {"preconditions": {"uid": "x"}}),
        Case("a collection by field", "DELETE", f"{maps}?dryRun=All&fieldSelector=metadata.name%3Done"),
        Case("a collection by a field that is none", "DELETE", f"{maps}?dryRun=All&fieldSelector=x%3Done"),
        Case("a collection by a version that is none", "DELETE", f"{maps}?dryRun=All&resourceVersion=x"),
        Case("a collection with a limit", "DELETE", f"{maps}?dryRun=All&limit=1&labelSelector=app%3Da"),
    ]


def patches(space):
    """Patches that are wrong, or touch what is not theirs."""
    one = f"{space}/configmaps/one?dryRun=All"
    pods = f"{space}/pods"

    def operations(*all_of_them):
        return [dict(zip(("op", "path", "value"), one)) for one in all_of_them]

    return [
        Case("a patch of the kind", "PATCH", one, {"kind": "Secret"}, MERGE),
        Case("a patch of the version", "PATCH", one, {"apiVersion": "v2"}, MERGE),
        Case("a patch of the identity", "PATCH", one, {"metadata": {"uid": "other"}}, MERGE),
        Case("a patch of the namespace", "PATCH", one, {"metadata": {"namespace": "other"}}, MERGE),
        Case("a patch of the birth", "PATCH", one, {"metadata": {"creationTimestamp": None}}, MERGE),
        Case("a patch of the end", "PATCH", one, {"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}}, MERGE),
        Case("a patch of all metadata", "PATCH", one, {"metadata": None}, MERGE),
        Case("a patch of managed fields", "PATCH", one, {"metadata": {"managedFields": None}}, MERGE),
        Case("managed fields reset", "PATCH", one, {"metadata": {"managedFields": [{}]}}, MERGE),
        Case("a patch of the generation", "PATCH", one, {"metadata": {"generation": 9}}, MERGE),
        Case("a patch to a wrong type", "PATCH", one, {"data": ["a"]}, MERGE),
        Case("a patch to a number", "PATCH", one, {"data": {"k": 1}}, MERGE),
        Case("a patch with an unknown field", "PATCH", one, {"zz": 1}, MERGE),
        Case("a patch that is null", "PATCH", one, "null", MERGE),
        Case("a patch that is empty", "PATCH", one, "", MERGE),
        Case("a patch that changes nothing", "PATCH", f"{space}/configmaps/one", {"data": {"k": "v"}}, MERGE),
        Case("a patch in YAML", "PATCH", one, "data: {z: a}\n", MERGE),
        Case("a patch with doubled fields", "PATCH", f"{one}&fieldValidation=Strict", '{"data":{"z":"1","z":"2"}}', MERGE),
        Case("an addition at the end", "PATCH", one, operations(("add", "/metadata/finalizers", ["a.b/c"]), ("add", "/metadata/finalizers/-", "a.b/d")), PATCH),
        Case("an addition beyond the end", "PATCH", one, operations(("add", "/metadata/finalizers", []), ("add", "/metadata/finalizers/3", "a.b/d")), PATCH),
        Case("an addition below nothing", "PATCH", one, operations(("add", "/a/b/c", 1)), PATCH),
        Case("a replacement of nothing", "PATCH", one, operations(("replace", "/data/nothing", "x")), PATCH),
        Case("a move", "PATCH", one, [{"op": "move", "from": "/data/k", "path": "/data/l"}], PATCH),
        Case("a move of nothing", "PATCH", one, [{"op": "move", "from": "/data/nothing", "path": "/data/l"}], PATCH),
        Case("a copy", "PATCH", one, [{"op": "copy", "from": "/data/k", "path": "/data/l"}], PATCH),
        Case("a copy from nowhere", "PATCH", one, [{"op": "copy", "path": "/data/l"}], PATCH),
        Case("an escaped pointer", "PATCH", one, operations(("add", "/metadata/annotations", {}), ("add", "/metadata/annotations/a.b~1c", "x")), PATCH),
        Case("a pointer without a slash", "PATCH", one, operations(("add", "data", {})), PATCH),
        Case("a patch of everything", "PATCH", one, operations(("replace", "", {})), PATCH),
        Case("an operation without a value", "PATCH", one, [{"op": "add", "path": "/data/x"}], PATCH),
        Case("an operation without a path", "PATCH", one, [{"op": "add", "value": "x"}], PATCH),
        Case("an operation without a name", "PATCH", one, [{"path": "/data/x", "value": "x"}], PATCH),
        Case("no operations", "PATCH", one, [], PATCH),
        Case("too many operations", "PATCH", one, operations(*[("test", "/data/k", "v")] * 10001), PATCH),
        Case("a test of an object", "PATCH", one, operations(("test", "/data", {"k": "v"})), PATCH),
        Case("a pod for patches", "POST", pods, {"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "i:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}, {"name": "b", "image": "i:1"}]}}),
        Case("a container by its name", "PATCH", f"{pods}/p?dryRun=All", {"spec": {"containers": [{"name": "b", "image": "i:2"}]}}, STRATEGIC),
        Case("a container without its name", "PATCH", f"{pods}/p?dryRun=All", {"spec": {"containers": [{"image": "i:2"}]}}, STRATEGIC),
        Case("another container", "PATCH", f"{pods}/p?dryRun=All", {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}, STRATEGIC, meant=(r"message",)),
        Case("an order of elements", "PATCH", f"{pods}/p?dryRun=All", {"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "i:3"}]}}, STRATEGIC, meant=(r"message",)),
        Case("a doubled order", "PATCH", f"{pods}/p?dryRun=All", {"metadata": {
            "$setElementOrder/finalizers": ["a.b/d", "a.b/c"], "finalizers": ["a.b/c", "a.b/d"]}}, STRATEGIC),
        Case("a finalizer more", "PATCH", f"{pods}/p?dryRun=All", {"metadata": {"finalizers": ["a.b/c"]}}, STRATEGIC),
        Case("a finalizer less", "PATCH", f"{pods}/p?dryRun=All", {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}}, STRATEGIC),
        Case("a directive of the wrong type", "PATCH", f"{pods}/p?dryRun=All", {"metadata": {"$patch": 1}}, STRATEGIC),
        Case("a deletion of a container", "PATCH", f"{pods}/p?dryRun=All", {"spec": {"containers": [{"name": "b", "$patch": "delete"}]}}, STRATEGIC, meant=(r"message",)),
        Case("an ephemeral container", "PATCH", f"{pods}/p/ephemeralcontainers?dryRun=All", {"spec": {"ephemeralContainers": [{"name": "e", "image": "i:1"}]}}, STRATEGIC),
        Case("its list of them", "GET", f"{pods}/p/ephemeralcontainers"),
        Case("a merge of containers", "PATCH", f"{pods}/p?dryRun=All", {"spec": {"containers": [{"name": "a", "image": "i:2"}]}}, MERGE, meant=(r"message",)),
        Case("the status of a pod", "PATCH", f"{pods}/p/status?dryRun=All", {"status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"}]}, "metadata": {"labels": {"a": "b"}}}, STRATEGIC),
        Case("the pod goes", "DELETE", f"{pods}/p?gracePeriodSeconds=0"),
    ]
