"""Objects of many types of fields, and server-side apply to all of these."""

import json

from cases import APPLY, MERGE, PATCH, Case, established, found

from .definitions import DEFINITIONS, definition, in_spec, object_of

YAML = "application/yaml"


# Formats of texts: a right one, and a wrong one.
FORMATS = {
    "byte": ("eA==", "*"),
    "date": ("2001-02-03", "2001-02-30"),
    "date-time": ("2001-02-03T04:05:06Z", "2001-02-03"),
    "duration": ("1h30m", "soon"),
    "email": ("a@example.com", "a"),
    "hostname": ("a.example.com", "a_b"),
    "ipv4": ("10.0.0.1", "10.0.0.256"),
    "ipv6": ("::1", "::g"),
    "ip": ("::1", "x"),
    "cidr": ("10.0.0.0/8", "10.0.0.0/33"),
    "mac": ("00:11:22:33:44:55", "00:11"),
    "uri": ("https://example.com/a", "a b"),
    "uuid": ("a1b2c3d4-0000-4000-8000-000000000000", "a1b2"),
    "uuid4": ("a1b2c3d4-0000-4000-8000-000000000000", "a1b2c3d4-0000-1000-8000-000000000000"),
    "isbn": ("9780306406157", "123"),
    "creditcard": ("4111111111111111", "123"),
    "ssn": ("111-11-1111", "1"),
    "hexcolor": ("#ffffff", "#zz"),
    "rgbcolor": ("rgb(1,2,3)", "rgb(1)"),
    "password": ("x", ""),
    "bsonobjectid": ("507f1f77bcf86cd799439011", "x"),
    "k8s-short-name": ("a-b", "A_b"),
    "k8s-long-name": ("a.b", "A_b"),
}


def parts(group, namespace):
    """Objects of many types of fields."""
    path = f"/apis/{group}/v1/namespaces/{namespace}/parts"
    text = {"type": "string"}
    schema = object_of(
        spec=object_of(
            count={"type": "integer", "format": "int32", "default": 3},
            long={"type": "integer", "format": "int64"},
            ratio={"type": "number"},
            flag={"type": "boolean"},
            step={"type": "integer", "multipleOf": 5},
            above={"type": "number", "minimum": 1, "exclusiveMinimum": True, "maximum": 3, "exclusiveMaximum": True},
            short={"type": "string", "minLength": 2},
            some={"type": "array", "minItems": 1, "items": text},
            few={"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "integer"}},
            one={"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": text, "b": text}},
            any={"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": text, "b": text}},
            all={"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 4}]},
            never={"type": "integer", "not": {"enum": [7]}},
            number={"type": "integer", "enum": [1, 2]},
            maybe={"type": "string", "nullable": True, "default": "m"},
            sure={"type": "string", "default": "s"},
            group=object_of(inner={"type": "string", "default": "i"}),
            filled={"type": "object", "default": {}, "properties": {"inner": {"type": "string", "default": "i"}}},
            template={"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
            free={"x-kubernetes-preserve-unknown-fields": True},
            port={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[a-z]+$"},
            **{f"format-{one}": {"type": "string", "format": one} for one in FORMATS},
        ),
        status={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    )

    def part(name="p", **spec):
        return {"apiVersion": f"{group}/v1", "kind": "Part", "metadata": {"name": name}, "spec": spec}

    def dry(name, body, **more):
        return Case(f"part: {name}", "POST", f"{path}?dryRun=All", body, any_order=True, **more)

    untyped = {"metadata": {"name": "p"}, "spec": {}}
    return [
        Case("part: definition", "POST", DEFINITIONS, definition(group, "Part", schema, subresources={"status": {}})),
        Case("part: established", "GET", f"{DEFINITIONS}/parts.{group}", until=established, meant=(r"conditions",)),
        Case("part: served", "GET", path, until=found),
        dry("without a type", untyped),
        dry("without a kind", {**untyped, "apiVersion": f"{group}/v1"}),
        dry("without a version", {**untyped, "kind": "Part"}),
        dry("of another kind", {**untyped, "apiVersion": f"{group}/v1", "kind": "Other"}),
        dry("of another version", {**untyped, "apiVersion": f"{group}/v2", "kind": "Part"}),
        dry("of another group", {**untyped, "apiVersion": "v1", "kind": "Part"}),
        dry("of a version that is none", {**untyped, "apiVersion": "a/b/c", "kind": "Part"}),
        dry("a kind that is a number", {**untyped, "apiVersion": f"{group}/v1", "kind": 1}),
        dry("an empty object", {}),
        dry("a list", []),
        dry("null", "null"),
        dry("a text", '"x"'),
        dry("nothing", ""),
        dry("in YAML", f"apiVersion: {group}/v1\nkind: Part\nmetadata: {{name: p}}\nspec: {{ratio: 1.50, short: '0x10'}}\n", media_type=YAML),
        dry("without a name", {**part(), "metadata": {}}),
        dry("without metadata", {"apiVersion": f"{group}/v1", "kind": "Part", "spec": {}}),
        dry("metadata that is a text", {**part(), "metadata": "x"}),
        dry("labels that are numbers", {**part(), "metadata": {"name": "p", "labels": {"a": 1}}}),
        dry("a wrong label", {**part(), "metadata": {"name": "p", "labels": {"a": "b c"}}}),
        dry("unknown metadata", {**part(), "metadata": {"name": "p", "strange": 1}}),
        dry("unknown metadata, strict", {**part(), "metadata": {"name": "p", "strange": 1}}),
        dry("a spec that is a list", {**part(), "spec": []}),
        dry("a spec that is null", {**part(), "spec": None}),
        dry("a status", {**part(), "status": {"a": 1}}),
        dry("unknown fields", {**part(zz=1, group={"zz": 2}), "yy": 3}),
        dry("defaults", part()),
        dry("defaults below", part(group={})),
        dry("nulls", part(maybe=None, sure=None, count=None)),
        dry("a null without a default", part(flag=None)),
        dry("a large count", part(count=1 << 31)),
        dry("a larger count", '{"apiVersion":"%s/v1","kind":"Part","metadata":{"name":"p"},"spec":{"long":9223372036854775808}}' % group),
        dry("a count with a fraction", part(count=1.5)),
        dry("a whole count with a point", '{"apiVersion":"%s/v1","kind":"Part","metadata":{"name":"p"},"spec":{"count":2.0}}' % group),
        dry("a count with an exponent", '{"apiVersion":"%s/v1","kind":"Part","metadata":{"name":"p"},"spec":{"count":1e2,"ratio":1e400}}' % group),
        dry("a ratio with an exponent", '{"apiVersion":"%s/v1","kind":"Part","metadata":{"name":"p"},"spec":{"ratio":1e2}}' % group),
        dry("a small ratio", '{"apiVersion":"%s/v1","kind":"Part","metadata":{"name":"p"},"spec":{"ratio":0.0000001}}' % group),
        dry("a whole ratio", part(ratio=2)),
        dry("a step", part(step=7)),
        dry("a border", part(above=1)),
        dry("another border", part(above=3)),
        dry("too short", part(short="a")),
        dry("too few", part(some=[])),
        dry("no entry", part(few={})),
        dry("too many entries", part(few={"a": 1, "b": 2, "c": 3})),
        dry("a wrong entry", part(few={"a": "x"})),
        dry("neither of two", part(one={})),
        dry("both of two", part(one={"a": "x", "b": "y"})),
        dry("none of several", part(any={})),
        dry("not all", part(all=1)),
        dry("what must not be", part(never=7)),
        dry("a number of none", part(number=3)),
        dry("an embedded object", part(template={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "strange": 1}, "spec": {"a": 1}})),
        dry("an embedded object without a kind", part(template={"apiVersion": "v1", "metadata": {"name": "x"}})),
        dry("an embedded object with wrong metadata", part(template={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "A_B"}})),
        dry("anything", part(free=[1, {"a": None}])),
        dry("a port that is a number", part(port=80)),
        dry("a port that is a text", part(port="http")),
        dry("a port that is wrong", part(port="HTTP")),
        dry("a port that is neither", part(port=True)),
        *[dry(f"format {one}, right", part(**{f"format-{one}": right})) for one, (right, _) in FORMATS.items()],
        *[dry(f"format {one}, wrong", part(**{f"format-{one}": wrong})) for one, (_, wrong) in FORMATS.items()],
        Case("part: made", "POST", path, part(name="kept", count=5)),
        Case("part: update without a kind", "PUT", f"{path}/kept", {"metadata": {"name": "kept"}, "spec": {}}),
        Case("part: status without a kind", "PUT", f"{path}/kept/status", {"metadata": {"name": "kept"}, "status": {}}),
        Case("part: status by update", "PUT", f"{path}/kept/status",
             lambda answers: {**answers["part: made"]["body"], "status": {"a": 1}, "spec": {"count": 9}}),
        Case("part: status of an old version", "PUT", f"{path}/kept/status",
             lambda answers: {**answers["part: made"]["body"], "status": {"a": 2}}),
        Case("part: scale of what has none", "GET", f"{path}/kept/scale"),
        Case("part: a patch of the kind", "PATCH", f"{path}/kept", {"kind": "Other"}, MERGE),
        Case("part: a patch of the group", "PATCH", f"{path}/kept", {"apiVersion": "other/v1"}, MERGE),
        Case("part: a patch in JSON", "PATCH", f"{path}/kept", [{"op": "replace", "path": "/spec/count", "value": "x"}], PATCH),
        Case("part: a patch to null", "PATCH", f"{path}/kept", {"spec": {"count": None}}, MERGE),
    ]


def deployment(containers):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers}}}}


def applies(group, namespace):
    """Server-side apply to lists and maps of all types."""
    path = f"/apis/{group}/v1/namespaces/{namespace}/plans"
    text = {"type": "string"}
    item = {"type": "object", "required": ["name"], "properties": {
        "name": text, "port": {"type": "integer", "default": 80}, "value": text, "more": object_of(a=text, b=text)}}
    schema = object_of(
        spec=object_of(
            parts={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"], "items": item},
            atoms={"type": "array", "x-kubernetes-list-type": "atomic", "items": item},
            plain={"type": "array", "items": text},
            tags={"type": "array", "x-kubernetes-list-type": "set", "items": text},
            whole={"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": text, "b": text}},
            words={"type": "object", "additionalProperties": text},
            free={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            a=text, b=text, replicas={"type": "integer"},
        ),
        status=object_of(phase=text, conditions={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": {
            "type": "object", "required": ["type"], "properties": {"type": text, "status": text}}}),
    )
    one = f"{path}/one"

    def plan(**spec):
        return {"apiVersion": f"{group}/v1", "kind": "Plan", "metadata": {"name": "one"}, "spec": spec}

    def apply(name, manager, body, query="", at=one, **more):
        return Case(f"apply: {name}", "PATCH", f"{at}?fieldManager={manager}{query}", body, APPLY, **more)

    def status(**fields):
        return {"apiVersion": f"{group}/v1", "kind": "Plan", "metadata": {"name": "one"}, "status": fields}

    return [
        Case("apply: definition", "POST", DEFINITIONS, definition(group, "Plan", schema, subresources={
            "status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}})),
        Case("apply: established", "GET", f"{DEFINITIONS}/plans.{group}", until=established, meant=(r"conditions",)),
        Case("apply: served", "GET", path, until=found),
        apply("without a manager's name", "", plan()),
        apply("in a dry run", "x", plan(a="1"), "&dryRun=All"),
        apply("made", "one", plan(a="1", parts=[{"name": "x", "value": "1"}, {"name": "y", "port": 1}], atoms=[{"name": "x"}], plain=["p"],
                                tags=["t"], whole={"a": "1"}, words={"k": "v"}, free={"f": {"g": 1}})),
        apply("the same", "one", plan(a="1", parts=[{"name": "x", "value": "1"}, {"name": "y", "port": 1}], atoms=[{"name": "x"}], plain=["p"],
                                    tags=["t"], whole={"a": "1"}, words={"k": "v"}, free={"f": {"g": 1}})),
        apply("another item and tag", "two", plan(parts=[{"name": "z"}], tags=["u"], words={"l": "w"}, free={"f": {"h": 2}})),
        apply("a value of another's item", "two", plan(parts=[{"name": "x", "value": "2"}])),
        apply("the same value", "two", plan(parts=[{"name": "x", "value": "1"}, {"name": "z"}], tags=["t", "u"], words={"l": "w"})),
        apply("another atomic list", "two", plan(atoms=[{"name": "y"}])),
        apply("another plain list", "two", plan(plain=["q"])),
        apply("another atomic map", "two", plan(whole={"b": "1"})),
        apply("several conflicts", "two", plan(a="2", plain=["q"], words={"k": "w"}, parts=[{"name": "x", "value": "2"}])),
        apply("an atomic list by force", "two", plan(atoms=[{"name": "y"}], parts=[{"name": "z"}], tags=["u"]), "&force=true"),
        apply("an item less", "one", plan(a="1", parts=[{"name": "x", "value": "1"}], plain=["p"], tags=["t"], whole={"a": "1"})),
        apply("all the rest", "one", plan()),
        apply("an item without its key", "one", plan(parts=[{"value": "1"}])),
        apply("an item with a key of the wrong type", "one", plan(parts=[{"name": 1}])),
        apply("an item twice", "one", plan(parts=[{"name": "x"}, {"name": "x", "port": 80}])),
        apply("a tag twice", "one", plan(tags=["a", "a"])),
        apply("a null", "one", plan(a=None, tags=None, parts=None)),
        apply("an empty list", "one", plan(tags=[], parts=[], words={})),
        apply("an unknown field", "one", plan(zz=1)),
        apply("an unknown field, ignored", "one", plan(zz=1), "&fieldValidation=Ignore"),
        apply("a list for a map", "one", plan(words=["a"])),
        apply("a map for a list", "one", plan(parts={"a": 1})),
        apply("a spec that is a text", "one", {**plan(), "spec": "x"}),
        apply("an invalid value", "one", {**plan(), "metadata": {"name": "one", "labels": {"a": "b c"}}}),
        apply("labels", "one", {**plan(a="1"), "metadata": {"name": "one", "labels": {"a": "b"}, "annotations": {"c": "d"}}}),
        apply("labels of another", "two", {**plan(), "metadata": {"name": "one", "labels": {"a": "c"}}}),
        apply("finalizers", "one", {**plan(a="1"), "metadata": {"name": "one", "finalizers": ["example.com/x"]}}),
        apply("owners", "two", {**plan(), "metadata": {"name": "one", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}]}}),
        apply("no finalizers", "one", plan(a="1")),
        apply("an old version", "one", {**plan(a="1"), "metadata": {"name": "one", "resourceVersion": "1"}}),
        apply("another identity", "one", {**plan(a="1"), "metadata": {"name": "one", "uid": "x"}}),
        apply("another version", "one", {**plan(), "apiVersion": f"{group}/v2"}),
        apply("no version", "one", {"kind": "Plan", "metadata": {"name": "one"}}),
        apply("no name", "one", {"apiVersion": f"{group}/v1", "kind": "Plan", "spec": {"a": "1"}}),
        apply("a generated name", "one", {"apiVersion": f"{group}/v1", "kind": "Plan", "metadata": {"generateName": "g-"}}),
        apply("nothing", "one", ""),
        apply("null", "one", "null"),
        apply("a list", "one", "[]"),
        apply("a text", "one", "hello", meant=(r"message",)),
        apply("two documents", "one", json.dumps(plan(a="1")) + "\n---\n" + json.dumps(plan(a="2")), meant=(r"message",)),
        apply("a status in the object", "one", {**plan(a="1"), "status": {"phase": "x"}}),
        apply("the status", "one", status(phase="Good", conditions=[{"type": "A", "status": "True"}]), at=f"{one}/status"),
        apply("the status of another", "two", status(conditions=[{"type": "B", "status": "True"}]), at=f"{one}/status"),
        apply("the status in conflict", "two", status(phase="Bad"), at=f"{one}/status"),
        apply("the status by force", "two", status(phase="Bad"), "&force=true", at=f"{one}/status"),
        apply("the spec in the status", "three", {**status(phase="Bad"), "spec": {"a": "9"}}, at=f"{one}/status"),
        apply("the status of nothing", "one", {**status(phase="Bad"), "metadata": {"name": "nothing"}}, at=f"{path}/nothing/status"),
        Case("apply: an update takes over", "PATCH", f"{one}?fieldManager=update", {"spec": {"a": "8", "words": {"n": "m"}}}, MERGE),
        apply("a conflict with an update", "one", plan(a="1")),
        apply("as the updater itself", "update", plan(a="7")),
        Case("apply: managed fields reset", "PATCH", f"{one}?fieldManager=reset", {"metadata": {"managedFields": [{}]}}, MERGE),
        apply("after the reset", "one", plan(a="5")),
        apply("by force after the reset", "one", plan(a="5"), "&force=true"),
        Case("apply: by a wrong field's type", "PATCH", f"{one}?fieldManager=x", {"spec": {"tags": ["a", "a"]}}, MERGE),
        Case("apply: it is read", "GET", one),
        Case("apply: a replica set", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d?fieldManager=one",
             deployment([{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}]), APPLY),
        Case("apply: a container more", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d?fieldManager=two",
             deployment([{"name": "s", "image": "i:2"}]), APPLY),
        Case("apply: a port more", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d?fieldManager=two",
             deployment([{"name": "c", "ports": [{"containerPort": 80, "protocol": "UDP"}], "env": [{"name": "A", "value": "2"}]}]), APPLY),
        Case("apply: replicas", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d/scale?fieldManager=hpa",
             {"spec": {"replicas": 4}}, MERGE),
        Case("apply: replicas of an owner", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d?fieldManager=one",
             {**deployment([{"name": "c", "image": "i:1"}]), "spec": {**deployment([{"name": "c", "image": "i:1"}])["spec"], "replicas": 2}}, APPLY),
        Case("apply: a scale by apply", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d/scale?fieldManager=scaler&force=true",
             {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 5}}, APPLY),
        Case("apply: the deployment", "GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/d", meant=(r"status|deployment.kubernetes.io",)),
        Case("apply: a service", "PATCH", f"/api/v1/namespaces/{namespace}/services/s?fieldManager=one", {"apiVersion": "v1", "kind": "Service",
             "metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}, {"port": 80, "protocol": "UDP", "name": "u"}]}}, APPLY,
             meant=(r"clusterIP", r"ipFamil", r"message|causes")),
    ]
