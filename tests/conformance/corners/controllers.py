"""What works behind requests: policies of admission, owners, and the end of namespaces."""

from cases import MERGE, Case, gone

from .definitions import DEFINITIONS

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


def policies(space, namespace):
    """Policies of admission, with parameters, conditions, variables and messages."""
    maps, dry = f"{space}/configmaps", f"{POLICIES}?dryRun=All"
    constraints = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}],
                   "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}

    def policy(name, **spec):
        return {"metadata": {"name": f"{name}-{namespace}"}, "spec": {"matchConstraints": constraints, **spec}}

    def binding(name, **spec):
        return {"metadata": {"name": f"{name}-{namespace}"}, "spec": {"policyName": f"{name}-{namespace}", "validationActions": ["Deny"], **spec}}

    def refused(answer):
        return answer["code"] == 422

    def warned(answer):
        return bool(answer["headers"]["warning"])

    def judged(name, data, until=None, **more):
        return Case(f"policy: {name}", "POST", f"{maps}?dryRun=All", {"metadata": {"name": "judged", **more}, "data": data}, until=until)

    own = (r"message", r"causes", r"status")
    return [
        Case("policy: nothing to say", "POST", dry, policy("bad")),
        Case("policy: an empty expression", "POST", dry, policy("bad", validations=[{"expression": ""}])),
        Case("policy: a wrong expression", "POST", dry, policy("bad", validations=[{"expression": "object."}]), meant=own),
        Case("policy: no truth", "POST", dry, policy("bad", validations=[{"expression": "1 + 1"}]), meant=own),
        Case("policy: an unknown variable", "POST", dry, policy("bad", validations=[{"expression": "nothing.x"}]), meant=own),
        Case("policy: parameters without a kind", "POST", dry, policy("bad", validations=[{"expression": "params.x == 1"}]), meant=own),
        Case("policy: a condition without a name", "POST", dry, policy("bad", matchConditions=[{"expression": "true"}], validations=[{"expression": "true"}])),
        Case("policy: a condition twice", "POST", dry, policy("bad", matchConditions=[{"name": "a", "expression": "true"}] * 2, validations=[{"expression": "true"}])),
        Case("policy: a variable that is no name", "POST", dry, policy("bad", variables=[{"name": "a-b", "expression": "1"}], validations=[{"expression": "true"}])),
        Case("policy: a reason that is none", "POST", dry, policy("bad", validations=[{"expression": "true", "reason": "Whim"}])),
        Case("policy: a failure policy that is none", "POST", dry, policy("bad", failurePolicy="Maybe", validations=[{"expression": "true"}])),
        Case("policy: rules without operations", "POST", dry, {"metadata": {"name": "bad"}, "spec": {"validations": [{"expression": "true"}], "matchConstraints": {
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}}}),
        Case("policy: no constraints", "POST", dry, {"metadata": {"name": "bad"}, "spec": {"validations": [{"expression": "true"}]}}),
        Case("policy: a binding without actions", "POST", f"{BINDINGS}?dryRun=All", {"metadata": {"name": "bad"}, "spec": {"policyName": "x"}}),
        Case("policy: a binding of contrary actions", "POST", f"{BINDINGS}?dryRun=All", {"metadata": {"name": "bad"}, "spec": {"policyName": "x", "validationActions": ["Deny", "Warn"]}}),
        Case("policy: a binding of nothing", "POST", f"{BINDINGS}?dryRun=All", {"metadata": {"name": "bad"}, "spec": {"validationActions": ["Deny"]}}),
        Case("policy: limits", "POST", maps, {"metadata": {"name": "limits"}, "data": {"most": "2"}}),
        Case("policy: made", "POST", POLICIES, policy(
            "size", paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            matchConditions=[{"name": "not-exempt", "expression": "!has(object.metadata.labels) || !('exempt' in object.metadata.labels)"},
                             {"name": "judged", "expression": "object.metadata.name == 'judged'"}],
            variables=[{"name": "entries", "expression": "has(object.data) ? object.data.size() : 0"}],
            validations=[
                {"expression": "variables.entries <= int(params.data.most)",
                 "messageExpression": "'has ' + string(variables.entries) + ', at most ' + params.data.most"},
                {"expression": "!has(object.data) || !('secret' in object.data)", "message": "no secrets", "reason": "Forbidden"},
                {"expression": "!has(object.data) || object.data.all(k, size(k) < 9)"},
            ],
            auditAnnotations=[{"key": "entries", "valueExpression": "string(variables.entries)"}]), meant=(r"status",)),
        Case("policy: bound", "POST", BINDINGS, binding("size", paramRef={"name": "limits", "namespace": namespace, "parameterNotFoundAction": "Deny"})),
        judged("too many", {"a": "1", "b": "2", "c": "3"}, until=refused),
        judged("few", {"a": "1"}),
        judged("a secret", {"secret": "1"}),
        judged("without a message", {"longer-than-nine": "1"}),
        judged("exempt", {"a": "1", "b": "2", "c": "3"}, labels={"exempt": "yes"}),
        Case("policy: limits are gone", "DELETE", f"{maps}/limits"),
        judged("without parameters", {"a": "1"}, until=lambda answer: answer["code"] >= 400),
        Case("policy: unbound", "DELETE", f"{BINDINGS}/size-{namespace}"),
        judged("no more", {"a": "1", "b": "2", "c": "3"}, until=lambda answer: answer["code"] == 201),
        Case("policy: of warnings", "POST", POLICIES, policy("warn", validations=[{"expression": "object.metadata.name != 'judged'", "message": "beware"}]), meant=(r"status",)),
        Case("policy: of warnings, bound", "POST", BINDINGS, binding("warn", validationActions=["Warn", "Audit"])),
        judged("a warning", {"a": "1"}, until=warned),
        Case("policy: of warnings, gone", "DELETE", f"{POLICIES}/warn-{namespace}"),
        Case("policy: of errors", "POST", POLICIES, policy("error", validations=[{"expression": "object.data['nothing'] == 'x'"}]), meant=(r"status",)),
        Case("policy: of errors, bound", "POST", BINDINGS, binding("error")),
        judged("an error", {"a": "1"}, until=refused),
        Case("policy: of errors, unbound", "DELETE", f"{BINDINGS}/error-{namespace}"),
        Case("policy: of errors, gone", "DELETE", f"{POLICIES}/error-{namespace}"),
        Case("policy: gone", "DELETE", f"{POLICIES}/size-{namespace}"),
    ]


def owners(space, namespace):
    """What owners take with them."""
    maps = f"{space}/configmaps"

    def owned(name, by, **more):
        def body(answers):
            owner = answers[by]["body"]
            return {"metadata": {"name": name, "ownerReferences": [{
                "apiVersion": "v1", "kind": owner.get("kind", "ConfigMap"), "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], **more}]}}
        return body

    other = f"{namespace}-other"
    return [
        Case("owner: made", "POST", maps, {"metadata": {"name": "owner"}}),
        Case("owner: of one", "POST", maps, owned("dependent", "owner: made")),
        Case("owner: another namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": other}}),
        Case("owner: of one elsewhere", "POST", f"/api/v1/namespaces/{other}/configmaps", owned("stranger", "owner: made")),
        Case("owner: the stranger is gone", "GET", f"/api/v1/namespaces/{other}/configmaps/stranger", until=gone),
        Case("owner: goes", "DELETE", f"{maps}/owner"),
        Case("owner: its dependent is gone", "GET", f"{maps}/dependent", until=gone),
        Case("owner: a second", "POST", maps, {"metadata": {"name": "owner"}}),
        Case("owner: blocked by one", "POST", maps, owned("blocks", "owner: a second", blockOwnerDeletion=True)),
        Case("owner: held itself", "PATCH", f"{maps}/blocks", {"metadata": {"finalizers": ["example.com/hold"]}}, MERGE),
        Case("owner: goes in front", "DELETE", f"{maps}/owner?propagationPolicy=Foreground"),
        Case("owner: waits for one", "GET", f"{maps}/blocks", until=lambda answer: "deletionTimestamp" in answer["body"].get("metadata", {})),
        Case("owner: waits", "GET", f"{maps}/owner"),
        Case("owner: lets go", "PATCH", f"{maps}/blocks", {"metadata": {"finalizers": None}}, MERGE),
        Case("owner: is gone", "GET", f"{maps}/owner", until=gone),
        Case("owner: a third", "POST", maps, {"metadata": {"name": "owner"}}),
        Case("owner: of an orphan", "POST", maps, owned("orphan", "owner: a third")),
        Case("owner: goes alone", "DELETE", f"{maps}/owner?propagationPolicy=Orphan"),
        Case("owner: is gone alone", "GET", f"{maps}/owner", until=gone),
        Case("owner: the orphan stays", "GET", f"{maps}/orphan", until=lambda answer: "ownerReferences" not in answer["body"].get("metadata", {})),
        Case("owner: of a kind that is none", "POST", f"{maps}?dryRun=All", {"metadata": {"name": "x", "ownerReferences": [
            {"apiVersion": "example.com/v1", "kind": "Nothing", "name": "x", "uid": "u", "blockOwnerDeletion": True}]}}),
        Case("owner: the other namespace goes", "DELETE", f"/api/v1/namespaces/{other}", meant=(r"status\.conditions",)),
    ]


def endings(space, namespace):
    """The end of a namespace in which something is held."""
    maps = f"{space}/configmaps"

    def conditions(answer):
        types = {one["type"]: one["status"] for one in answer["body"].get("status", {}).get("conditions") or []}
        return types.get("NamespaceFinalizersRemaining") == "True"

    return [
        Case("end: held", "POST", maps, {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}),
        Case("end: a namespace's label", "PATCH", space, {"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}}, MERGE),
        Case("end: a namespace's status", "PATCH", f"{space}/status", {"status": {"phase": "Strange"}}, MERGE),
        Case("end: a definition goes", "DELETE", f"{DEFINITIONS}/rulers.{namespace}.example.com", meant=(r".*",)),
        Case("end: begins", "DELETE", space, meant=(r"status\.conditions",)),
        Case("end: something new", "POST", maps, {"metadata": {"name": "new"}}),
        Case("end: waits", "GET", space, until=conditions, meant=(r"status\.conditions",)),
        Case("end: again", "DELETE", space, meant=(r"status\.conditions",)),
        Case("end: let go", "PATCH", f"{maps}/held", {"metadata": {"finalizers": None}}, MERGE),
        Case("end: is gone", "GET", space, until=gone),
    ]
