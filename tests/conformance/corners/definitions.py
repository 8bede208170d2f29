"""Definitions that are wrong, that have rules, and that change."""

import json

from cases import MERGE, PATCH, Case, established, found, gone

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(group, kind, schema, **version):
    """A definition of one version."""
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}],
        },
    }


def object_of(**properties):
    return {"type": "object", "properties": properties}


def in_spec(**properties):
    return object_of(spec=object_of(**properties))


def definitions(group):
    """Definitions that are wrong."""
    dry = f"{DEFINITIONS}?dryRun=All"
    text, number = {"type": "string"}, {"type": "integer"}

    def wrong(name, schema=None, change=None, meant=(), **version):
        whole = definition(group, "Bad", schema or object_of(), **version)
        if change:
            change(whole)
        return Case(f"definition: {name}", "POST", dry, whole, any_order=True, meant=meant)

    def spec(**fields):
        return lambda whole: whole["spec"].update(fields)

    def names(**fields):
        return lambda whole: whole["spec"]["names"].update(fields)

    def second(**fields):
        return lambda whole: whole["spec"]["versions"].append(
            {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": {"type": "object"}}, **fields})

    return [
        wrong("good", in_spec(a=text)),
        wrong("no versions", change=spec(versions=[]), meant=(r"message",)),
        wrong("a scope that is none", change=spec(scope="World")),
        wrong("no scope", change=lambda whole: whole["spec"].pop("scope")),
        wrong("a group without a dot", change=lambda whole: (whole["spec"].update(group="bad"), whole["metadata"].update(name="bads.bad"))),
        wrong("a protected group", change=lambda whole: (whole["spec"].update(group="bad.k8s.io"), whole["metadata"].update(name="bads.bad.k8s.io"))),
        wrong("an upper case plural", change=names(plural="Bads")),
        wrong("a kind that is none", change=names(kind="bad kind")),
        wrong("a kind in lower case", change=names(kind="bad")),
        wrong("a short name that is none", change=names(shortNames=["B_"])),
        wrong("no names", change=spec(names={})),
        wrong("two versions of one name", change=second(name="v1"), meant=(r"message",)),
        wrong("two storage versions", change=second(storage=True), meant=(r"message",)),
        wrong("a version that is none", change=second(name="V_2")),
        wrong("a warning without an end", deprecationWarning="soon"),
        wrong("a deprecated version", deprecated=True, deprecationWarning="soon"),
        wrong("unknown fields kept as of old", change=spec(preserveUnknownFields=True)),
        wrong("conversion by nobody", change=spec(conversion={"strategy": "Webhook"})),
        wrong("conversion by something", change=spec(conversion={"strategy": "Some"})),
        wrong("a column without a path", additionalPrinterColumns=[{"name": "A", "type": "string"}]),
        wrong("a column of a wrong path", additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": "spec.a"}], meant=(r"message",)),
        wrong("a column of a wrong type", additionalPrinterColumns=[{"name": "A", "type": "strange", "jsonPath": ".spec.a"}]),
        wrong("a column of a wrong format", additionalPrinterColumns=[{"name": "A", "type": "string", "format": "x", "jsonPath": ".spec.a"}]),
        wrong("a scale without paths", subresources={"scale": {}}),
        wrong("a scale outside", subresources={"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ".spec.b"}}),
        wrong("a scale into a list", subresources={"scale": {"specReplicasPath": ".spec.a[0]", "statusReplicasPath": ".status.b"}}),
        wrong("a selectable field that is none", in_spec(a=object_of()), selectableFields=[{"jsonPath": ".spec.a"}]),
        wrong("a selectable field of nothing", in_spec(a=text), selectableFields=[{"jsonPath": ".spec.b"}]),
        wrong("a selectable field twice", in_spec(a=text), selectableFields=[{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.a"}]),
        wrong("a root that is no object", {"type": "string"}),
        wrong("a type that is none", in_spec(a={"type": "strange"})),
        wrong("a format for a type", in_spec(a={"type": "string", "format": "strange"})),
        wrong("items that are missing", in_spec(a={"type": "array"})),
        wrong("items of several kinds", in_spec(a={"type": "array", "items": [text]}), meant=(r"message|causes|details",)),
        wrong("a default that does not fit", in_spec(a={"type": "integer", "default": "x"})),
        wrong("a default with unknown fields", in_spec(a={"type": "object", "default": {"b": 1}, "properties": {"c": number}})),
        wrong("a default of metadata", object_of(metadata={"type": "object", "default": {}})),
        wrong("metadata with its own fields", object_of(metadata=object_of(labels=text))),
        wrong("metadata with a name", object_of(metadata=object_of(name={"type": "string", "maxLength": 5}))),
        wrong("a key that is not there", in_spec(a={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": object_of(l=text)})),
        wrong("no key", in_spec(a={"type": "array", "x-kubernetes-list-type": "map", "items": object_of(l=text)})),
        wrong("a key that may be missing", in_spec(a={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["l"], "items": object_of(l=text)})),
        wrong("a key for a set", in_spec(a={"type": "array", "x-kubernetes-list-type": "set", "x-kubernetes-list-map-keys": ["l"], "items": text})),
        wrong("a set of maps", in_spec(a={"type": "array", "x-kubernetes-list-type": "set", "items": object_of(l=text)})),
        wrong("a list type that is none", in_spec(a={"type": "array", "x-kubernetes-list-type": "heap", "items": text})),
        wrong("a list type of a text", in_spec(a={"type": "string", "x-kubernetes-list-type": "set"})),
        wrong("a map type that is none", in_spec(a={"type": "object", "x-kubernetes-map-type": "tree"})),
        wrong("an integer or text with a type", in_spec(a={"type": "string", "x-kubernetes-int-or-string": True})),
        wrong("unknown fields of a text", in_spec(a={"type": "string", "x-kubernetes-preserve-unknown-fields": True})),
        wrong("unknown fields not kept", in_spec(a={"type": "object", "x-kubernetes-preserve-unknown-fields": False})),
        wrong("an embedded resource without fields", in_spec(a={"type": "object", "x-kubernetes-embedded-resource": True})),
        wrong("properties and more of them", in_spec(a={"type": "object", "properties": {"b": text}, "additionalProperties": text})),
        wrong("no more properties", in_spec(a={"type": "object", "additionalProperties": False})),
        wrong("unique items", in_spec(a={"type": "array", "uniqueItems": True, "items": text})),
        wrong("a reference", in_spec(a={"$ref": "#/x"})),
        wrong("an identifier", in_spec(a={"type": "string", "id": "x"})),
        wrong("definitions inside", in_spec(a={"type": "object", "definitions": {}})),
        wrong("pattern properties", in_spec(a={"type": "object", "patternProperties": {"x": text}})),
        wrong("a pattern that is none", in_spec(a={"type": "string", "pattern": "("}), meant=(r"message",)),
        wrong("a choice with a type", in_spec(a={"type": "string", "anyOf": [{"type": "string"}]})),
        wrong("a choice with a default", in_spec(a={"type": "string", "oneOf": [{"default": "x"}]})),
        wrong("a choice with a description", in_spec(a={"type": "string", "allOf": [{"description": "x"}]})),
        wrong("a choice of what is not above", in_spec(a={"type": "object", "not": {"properties": {"b": {"minimum": 1}}}})),
        wrong("nullable in a choice", in_spec(a={"type": "string", "anyOf": [{"nullable": True}]})),
        wrong("a minimum that is exclusive", in_spec(a={"type": "integer", "minimum": 1, "exclusiveMinimum": True})),
        wrong("a schema with unknown fields", in_spec(a={"type": "string", "strange": 1})),
        wrong("a rule that is empty", in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": ""}]})),
        wrong("a message over two lines", in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "true", "message": "a\nb"}]})),
        wrong("an empty message", in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "true", "message": "  "}]})),
        wrong("a long rule without a message", in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "self ==\n'a'"}]})),
        wrong("a reason that is none", in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "true", "reason": "Whim"}]})),
        wrong("a field path that is none", in_spec(a={"type": "object", "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".b"}]}), meant=(r"message",)),
        wrong("an optional old self", in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "true", "optionalOldSelf": True}]})),
        wrong("a transition in a list", in_spec(a={"type": "array", "maxItems": 3, "items": {
            "type": "string", "maxLength": 3, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}})),
    ]


def rules(group, namespace):
    """CEL with Kubernetes' libraries: for each a rule, a value for which it holds, and one for which it does not."""
    expressions = {
        "quantity": ("isQuantity(self) && quantity(self).isGreaterThan(quantity('1Gi'))", "2Gi", "1Mi"),
        "sum": ("quantity(self).add(quantity('1')).compareTo(quantity('3')) == 0", "2", "1"),
        "address": ("isIP(self) && ip(self).family() == 4 && !ip(self).isLoopback()", "10.0.0.1", "127.0.0.1"),
        "network": ("isCIDR(self) && cidr(self).containsIP('10.1.2.3')", "10.0.0.0/8", "11.0.0.0/8"),
        "prefix": ("cidr(self).prefixLength() <= 16", "10.0.0.0/8", "10.0.0.0/24"),
        "link": ("isURL(self) && url(self).getScheme() == 'https'", "https://a.b/c", "http://a.b"),
        "host": ("url(self).getHost() == 'a.b:80' && url(self).getQuery()['x'] == ['1']", "http://a.b:80/?x=1", "http://a.b/?x=1"),
        "name": ("!format.dns1123Label().validate(self).hasValue()", "a-b", "A_b"),
        "named": ("format.named('dns1123Subdomain').hasValue() && !format.named('dns1123Subdomain').value().validate(self).hasValue()", "a.b", "A_b"),
        "found": ("self.find('[0-9]+') == '12'", "ab12cd", "ab"),
        "all": ("self.findAll('[0-9]+') == ['1', '2']", "1a2", "1"),
        "matches": ("self.matches('^a+$')", "aaa", "b"),
        "lower": ("self.lowerAscii() == 'ab' && self.upperAscii() == 'AB'", "aB", "b"),
        "split": ("self.split(',').size() == 2 && self.split(',')[1].trim() == 'b'", "a, b", "a"),
        "joined": ("self.split(',').join('-') == 'a-b'", "a,b", "b"),
        "replaced": ("self.replace('a', 'b') == 'bb'", "ab", "aa c"),
        "part": ("self.substring(1, 3) == 'bc' && self.charAt(0) == 'a' && self.indexOf('d') == 3", "abcd", "bcda"),
        "sorted": ("self.split('').isSorted()", "abc", "cba"),
        "most": ("self.split(',').map(x, int(x)).max() == 3 && self.split(',').map(x, int(x)).sum() == 6", "1,2,3", "1,2"),
        "date": ("timestamp(self).getFullYear() == 2001 && duration('1h') > duration('59m')", "2001-02-03T04:05:06Z", "2002-02-03T04:05:06Z"),
        "sets": ("sets.contains(['a', 'b'], self.split(',')) && sets.intersects(self.split(','), ['a'])", "a,b", "c"),
        "one": ("self.split(',').exists_one(x, x == 'a') && self.split(',').filter(x, x != 'a').size() == 1", "a,b", "a,a"),
        "optional": ("optional.of(self).orValue('x') == 'y' && [self][?5].orValue('z') == 'z'", "y", "z"),
        "version": ("isSemver(self) && semver(self).isLessThan(semver('1.10.0'))", "1.9.0", "1.11.0"),
        "chosen": ("(self == 'a' ? 1 : 2) == 1", "a", "b"),
        "number": ("double(self) < 1.5 && int(double(self)) == 1", "1.4", "1.6"),
        "bytes": ("size(bytes(self)) == 2 && string(bytes(self)) == self", "\u00e9", "e"),
        "not": ("!!(self == 'a')", "a", "b"),
        "typed": ("type(self) == string && dyn(self) != 1", "a", ""),
        "reverse": ("self.reverse() == 'cba'", "abc", "ab"),
        "two": ("{'a': self}.all(k, v, k == 'a' && v == 'x')", "x", "y"),
        "bound": ("cel.bind(y, self + '!', y == 'a!')", "a", "b"),
    }
    path = f"/apis/{group}/v1/namespaces/{namespace}/rulers"
    properties = {
        name: {"type": "string", "maxLength": 40, "x-kubernetes-validations": [{"rule": rule, "message": f"not {name}"}]}
        for name, (rule, _, _) in expressions.items()
    }
    dry = f"{DEFINITIONS}?dryRun=All"

    def ruler(called, **spec):
        return {"apiVersion": f"{group}/v1", "kind": "Ruler", "metadata": {"name": called}, "spec": spec}

    return [
        *[Case(f"rule: {name} compiles", "POST", dry, definition(group, "Ruler", in_spec(**{name: one}))) for name, one in properties.items()],
        Case("rule: definition", "POST", DEFINITIONS, definition(group, "Ruler", object_of(spec={**object_of(
            **properties, old={"type": "string", "maxLength": 9}, kept={"type": "integer", "x-kubernetes-validations": [
                {"rule": "self >= oldSelf", "messageExpression": "'from ' + string(oldSelf) + ' to ' + string(self)"}]},
            list={"type": "array", "maxItems": 5, "items": object_of(n={"type": "integer"}), "x-kubernetes-validations": [
                {"rule": "self.all(i, has(i.n) && i.n > 0)", "message": "positive"}]},
            map={"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}, "x-kubernetes-validations": [
                {"rule": "self.all(k, self[k] > 0) && (!('a' in self) || self.a == 1)", "message": "positive"}]},
            escaped=object_of(**{"namespace": {"type": "string", "maxLength": 9}, "x-y": {"type": "string", "maxLength": 9}}),
        ), "x-kubernetes-validations": [
            {"rule": "!has(self.escaped) || self.escaped.__namespace__ == self.escaped.x__dash__y", "message": "unequal"},
            {"rule": "!has(self.old) || self.old != 'bad'", "messageExpression": "'old is ' + self.old"},
            {"rule": "!has(self.list) || self.list[9].n == 1 || true", "message": "never"},
        ]}))),
        Case("rule: established", "GET", f"{DEFINITIONS}/rulers.{group}", until=established, meant=(r"conditions|spec",)),
        Case("rule: served", "GET", path, until=found),
        *[Case(f"rule: {name} holds", "POST", f"{path}?dryRun=All", ruler("r", **{name: right})) for name, (_, right, _) in expressions.items()],
        *[Case(f"rule: {name} fails", "POST", f"{path}?dryRun=All", ruler("r", **{name: wrong})) for name, (_, _, wrong) in expressions.items()],
        Case("rule: an error", "POST", f"{path}?dryRun=All", ruler("r", sum="x"), meant=(r"message",)),
        Case("rule: a list", "POST", f"{path}?dryRun=All", ruler("r", list=[{"n": 0}])),
        Case("rule: an item without it", "POST", f"{path}?dryRun=All", ruler("r", list=[{}])),
        Case("rule: a map", "POST", f"{path}?dryRun=All", ruler("r", map={"a": 2})),
        Case("rule: escaped names", "POST", f"{path}?dryRun=All", ruler("r", escaped={"namespace": "a", "x-y": "b"})),
        Case("rule: a message of its own", "POST", f"{path}?dryRun=All", ruler("r", old="bad")),
        Case("rule: made", "POST", path, ruler("r", kept=5)),
        Case("rule: upwards", "PATCH", f"{path}/r", {"spec": {"kept": 6}}, MERGE),
        Case("rule: downwards", "PATCH", f"{path}/r", {"spec": {"kept": 4}}, MERGE),
        Case("rule: a tightened definition", "PATCH", f"{DEFINITIONS}/rulers.{group}", [
            {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/kept/maximum", "value": 5}], PATCH,
             meant=(r"conditions|spec|status",)),
    ]


def versions(group, namespace):
    """Definitions that change, of several versions, while objects are stored."""
    path = f"/apis/{group}/v1/namespaces/{namespace}/books"
    newer = path.replace("/v1/", "/v2/")
    whole = definition(group, "Book", in_spec(title={"type": "string"}))
    changed = definition(group, "Book", in_spec(title={"type": "string", "maxLength": 3}, pages={"type": "integer", "default": 7}))
    changed["spec"]["versions"][0].update(storage=False, deprecated=True, deprecationWarning="read v2")
    changed["spec"]["versions"].append({"name": "v2", "served": True, "storage": True, "schema": {"openAPIV3Schema": in_spec(
        title={"type": "string"}, author={"type": "string", "default": "nobody"})}})
    at = f"{DEFINITIONS}/books.{group}"

    def book(name, version="v1", **spec):
        return {"apiVersion": f"{group}/{version}", "kind": "Book", "metadata": {"name": name}, "spec": spec}

    def replaced(change):
        def body(answers):
            before = answers["version: now"]["body"]
            return {**change, "metadata": {"name": before["metadata"]["name"], "resourceVersion": before["metadata"]["resourceVersion"]}}
        return body

    moved = json.loads(json.dumps(changed))
    moved["spec"]["group"] = "other.example.com"
    scoped = json.loads(json.dumps(changed))
    scoped["spec"]["scope"] = "Cluster"
    fewer = json.loads(json.dumps(changed))
    fewer["spec"]["versions"] = [{**fewer["spec"]["versions"][1]}]
    rival = definition(group, "Book", object_of())
    rival["metadata"]["name"] = f"tomes.{group}"
    rival["spec"]["names"].update(plural="tomes", singular="tome")
    return [
        Case("version: definition", "POST", DEFINITIONS, whole),
        Case("version: established", "GET", at, until=established, meant=(r"conditions",)),
        Case("version: served", "GET", path, until=found),
        Case("version: a book", "POST", path, book("one", title="long")),
        Case("version: a rival", "POST", DEFINITIONS, rival),
        Case("version: a rival's conditions", "GET", f"{DEFINITIONS}/tomes.{group}",
             until=lambda answer: any(one["type"] == "NamesAccepted" for one in answer["body"].get("status", {}).get("conditions") or [])),
        Case("version: the rival goes", "DELETE", f"{DEFINITIONS}/tomes.{group}", meant=(r".*",)),
        Case("version: now", "GET", at, meant=(r"conditions",)),
        Case("version: another group", "PUT", at, replaced(moved), meant=(r"conditions",)),
        Case("version: another scope", "PUT", at, replaced(scoped), meant=(r"conditions",)),
        Case("version: a second one", "PUT", at, replaced(changed), meant=(r"conditions",)),
        Case("version: the second is served", "GET", newer, until=found),
        Case("version: the book of old", "GET", f"{path}/one"),
        Case("version: the book in the new one", "GET", f"{newer}/one"),
        Case("version: the list of old", "GET", path),
        Case("version: what was too long stays", "PATCH", f"{path}/one", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        Case("version: what is too long", "POST", path, book("two", title="long")),
        Case("version: in the new one", "POST", newer, book("three", "v2", title="long", author="me")),
        Case("version: of the new one, of old", "GET", f"{path}/three"),
        Case("version: of another version", "POST", newer, book("four", "v1")),
        Case("version: discovery of old", "GET", f"/apis/{group}/v1"),
        Case("version: a watch in the new one", "GET", f"{newer}?watch=1&fieldSelector=metadata.name%3Dthree&timeoutSeconds=2"),
        Case("version: now", "GET", at, meant=(r"conditions",)),
        Case("version: fewer", "PUT", at, replaced(fewer), meant=(r"conditions", r"message")),
        Case("version: its status", "PATCH", f"{at}/status", {"status": {"storedVersions": ["v2"]}}, MERGE, meant=(r"conditions",)),
        Case("version: now", "GET", at, meant=(r"conditions",)),
        Case("version: fewer again", "PUT", at, replaced(fewer), meant=(r"conditions",)),
        Case("version: of old is gone", "GET", path, until=gone),
        Case("version: the definition goes", "DELETE", at, meant=(r".*",)),
        Case("version: the definition is gone", "GET", at, until=gone),
        Case("version: books are gone", "GET", newer, until=gone),
    ]
