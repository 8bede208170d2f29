"""Built-in kinds: scales, mistakes, columns of tables, callers who may not, and tokens."""

from cases import MERGE, TABLE, Case, found, template


def workloads(namespace):
    """Scales and mistakes of built-in kinds."""
    apps, core = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
    batch, dry = f"/apis/batch/v1/namespaces/{namespace}", "?dryRun=All"
    scale = f"{apps}/deployments/d/scale"
    return [
        Case("scale: read", "GET", scale, meant=(r"status",)),
        Case("scale: update", "PUT", scale, {"metadata": {"name": "d"}, "spec": {"replicas": 2}}, meant=(r"status",)),
        Case("scale: of another name", "PUT", scale, {"metadata": {"name": "e"}, "spec": {"replicas": 2}}),
        Case("scale: negative", "PATCH", scale, {"spec": {"replicas": -1}}, MERGE),
        Case("scale: a wrong type", "PATCH", scale, {"spec": {"replicas": "x"}}, MERGE),
        Case("scale: an old version", "PUT", scale, {"metadata": {"name": "d", "resourceVersion": "1"}, "spec": {"replicas": 2}}),
        Case("scale: of nothing", "GET", f"{apps}/deployments/nothing/scale"),
        Case("scale: as a table", "GET", scale, accept=TABLE, meant=(r"cells|status",)),
        Case("a deployment's selector changes", "PATCH", f"{apps}/deployments/d", {"spec": {"selector": {"matchLabels": {"app": "b"}}}}, MERGE, meant=(r"message", r"causes")),
        Case("a deployment with negative replicas", "PATCH", f"{apps}/deployments/d", {"spec": {"replicas": -1}}, MERGE),
        Case("a container without an image", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}),
        Case("a container twice", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}}),
        Case("a port out of range", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]}}),
        Case("a quantity that is none", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"limits": {"cpu": "much"}}}]}}),
        Case("an unknown policy of restarts", "POST", f"{core}/pods{dry}", {"metadata": {"name": "p"}, "spec": {
            "restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "i"}]}}),
        Case("a service without ports", "POST", f"{core}/services{dry}", {"metadata": {"name": "s"}, "spec": {}}),
        Case("a service of an unknown type", "POST", f"{core}/services{dry}", {"metadata": {"name": "s"}, "spec": {"type": "Some", "ports": [{"port": 80}]}}, meant=(r"clusterIP", r"ipFamil")),
        Case("a service that is headless", "POST", f"{core}/services{dry}", {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}, meant=(r"ipFamil",)),
        Case("a job without a template", "POST", f"{batch}/jobs{dry}", {"metadata": {"name": "j"}, "spec": {}}, any_order=True),
        Case("a job that restarts", "POST", f"{batch}/jobs{dry}", {"metadata": {"name": "j"}, "spec": {"template": template()}}, meant=(r"labels|controller-uid", r"message", r"causes")),
        Case("a schedule that is none", "POST", f"{batch}/cronjobs{dry}", {"metadata": {"name": "j"}, "spec": {
            "schedule": "often", "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}}}}),
        Case("an autoscaler", "POST", f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers{dry}", {"metadata": {"name": "h"}, "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        Case("an autoscaler without a most", "POST", f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers{dry}", {"metadata": {"name": "h"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        Case("a claim", "POST", f"{core}/persistentvolumeclaims{dry}", {"metadata": {"name": "c"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        Case("a claim without a size", "POST", f"{core}/persistentvolumeclaims{dry}", {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
        Case("a node", "POST", f"/api/v1/nodes{dry}", {"metadata": {"name": f"n-{namespace}"}}),
        Case("an event", "POST", f"{core}/events{dry}", {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace}, "reason": "r", "message": "m", "type": "Normal"}),
        Case("an event of elsewhere", "POST", f"{core}/events{dry}", {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "other"}}),
        Case("a new event", "POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events{dry}", {"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": namespace}, "reason": "r", "note": "m", "type": "Normal",
             "eventTime": "2001-02-03T04:05:06.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1", "action": "a"}),
        Case("a new event that lacks", "POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events{dry}", {"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": namespace}, "type": "Strange"}, any_order=True),
        Case("a quota", "POST", f"{core}/resourcequotas{dry}", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}, meant=(r"warning",)),
        Case("a range of limits", "POST", f"{core}/limitranges{dry}", {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}, meant=(r"warning",)),
        Case("endpoints", "POST", f"{core}/endpoints{dry}", {"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    ]


def columns():
    """How kinds are told in tables: names, types and formats of columns."""
    collections = [
        "/api/v1/" + one for one in (
            "configmaps", "endpoints", "events", "limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes",
            "pods", "podtemplates", "replicationcontrollers", "resourcequotas", "secrets", "serviceaccounts", "services",
        )
    ] + [
        "/apis/" + one for one in (
            "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            "apiextensions.k8s.io/v1/customresourcedefinitions", "apiregistration.k8s.io/v1/apiservices",
            "apps/v1/controllerrevisions", "apps/v1/daemonsets", "apps/v1/deployments", "apps/v1/replicasets", "apps/v1/statefulsets",
            "autoscaling/v1/horizontalpodautoscalers", "autoscaling/v2/horizontalpodautoscalers", "batch/v1/cronjobs", "batch/v1/jobs",
            "certificates.k8s.io/v1/certificatesigningrequests", "coordination.k8s.io/v1/leases", "discovery.k8s.io/v1/endpointslices",
            "events.k8s.io/v1/events", "flowcontrol.apiserver.k8s.io/v1/flowschemas",
            "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", "networking.k8s.io/v1/ingressclasses",
            "networking.k8s.io/v1/ingresses", "networking.k8s.io/v1/networkpolicies", "node.k8s.io/v1/runtimeclasses",
            "policy/v1/poddisruptionbudgets", "rbac.authorization.k8s.io/v1/clusterrolebindings", "rbac.authorization.k8s.io/v1/clusterroles",
            "rbac.authorization.k8s.io/v1/rolebindings", "rbac.authorization.k8s.io/v1/roles", "scheduling.k8s.io/v1/priorityclasses",
            "storage.k8s.io/v1/csidrivers", "storage.k8s.io/v1/csinodes", "storage.k8s.io/v1/storageclasses", "storage.k8s.io/v1/volumeattachments",
        )
    ]
    rows = (r"body\.rows", r"body\.metadata")
    return [Case(f"columns: {one}", "GET", f"{one}?limit=1", accept=TABLE, meant=rows) for one in collections]


def access(space, namespace):
    """Callers who may not, and tokens."""
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    reviews = "/apis/authorization.k8s.io/v1"
    somebody = {"Impersonate-User": "somebody"}
    tokens = f"{space}/serviceaccounts/default/token"
    return [
        Case("somebody reads", "GET", f"{space}/configmaps/one", headers=somebody),
        Case("somebody lists", "GET", f"{space}/configmaps", headers=somebody),
        Case("somebody watches", "GET", f"{space}/configmaps?watch=1", headers=somebody),
        Case("somebody lists everywhere", "GET", "/api/v1/configmaps", headers=somebody),
        Case("somebody lists nodes", "GET", "/api/v1/nodes", headers=somebody),
        Case("somebody writes", "POST", f"{space}/configmaps", {"metadata": {"name": "x"}}, headers=somebody),
        Case("somebody writes a status", "PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/d/status", {}, MERGE, headers=somebody),
        Case("somebody deletes all", "DELETE", f"{space}/configmaps", headers=somebody),
        Case("somebody asks for metrics", "GET", "/metrics", headers=somebody),
        Case("somebody asks for what is not there", "GET", "/apis/nothing.example.com/v1/things", headers=somebody),
        Case("somebody discovers", "GET", "/api", headers=somebody, meant=(r"serverAddress",)),
        Case("somebody asks who it is", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers={**somebody, "Impersonate-Group": "some"}),
        Case("a group without a user", "GET", f"{space}/configmaps/one", headers={"Impersonate-Group": "some"}),
        Case("an extra without a user", "GET", f"{space}/configmaps/one", headers={"Impersonate-Extra-x": "some"}),
        Case("an account is asked who it is", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {},
             headers={"Impersonate-User": f"system:serviceaccount:{namespace}:default"}),
        Case("what somebody may", "POST", f"{reviews}/selfsubjectrulesreviews", {"spec": {"namespace": namespace}}, headers=somebody, meant=(r"status",)),
        Case("rules of nowhere", "POST", f"{reviews}/selfsubjectrulesreviews", {"spec": {}}),
        Case("a local question", "POST", f"{reviews}/namespaces/{namespace}/localsubjectaccessreviews", {"spec": {"user": "u", "resourceAttributes": {
            "namespace": "other", "verb": "get", "resource": "pods"}}}),
        Case("both kinds of question", "POST", f"{reviews}/subjectaccessreviews", {"spec": {"user": "u", "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}}}),
        Case("a question about nobody", "POST", f"{reviews}/subjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
        Case("a question with a name", "POST", f"{reviews}/subjectaccessreviews", {"metadata": {"name": "x"}, "spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}}, meant=(r"status",)),
        Case("a question is read", "GET", f"{reviews}/subjectaccessreviews"),
        Case("a reader's role", "POST", f"{roles}/roles", {"metadata": {"name": "reader"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["one"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]}]}),
        Case("a reader's binding", "POST", f"{roles}/rolebindings", {"metadata": {"name": "reader"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
             "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"}]}),
        Case("now somebody reads", "GET", f"{space}/configmaps/one", headers=somebody, until=found),
        Case("somebody reads another", "GET", f"{space}/configmaps/large", headers=somebody),
        Case("somebody grants more", "POST", f"{roles}/roles", {"metadata": {"name": "more"}, "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}, headers=somebody),
        Case("somebody binds more", "POST", f"{roles}/rolebindings", {"metadata": {"name": "more"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
             "subjects": [{"kind": "User", "name": "somebody"}]}, headers=somebody, any_order=True, meant=(r"message",)),
        Case("a binding of nothing", "POST", f"{roles}/rolebindings", {"metadata": {"name": "empty"}, "roleRef": {}}, any_order=True),
        Case("a binding of a wrong kind", "POST", f"{roles}/rolebindings", {"metadata": {"name": "empty"}, "roleRef": {"kind": "Rule", "name": "x", "apiGroup": "x"}}, any_order=True),
        Case("a subject without a namespace", "POST", f"{roles}/rolebindings", {"metadata": {"name": "empty"}, "roleRef": {"kind": "Role", "name": "x"},
             "subjects": [{"kind": "ServiceAccount", "name": "x"}]}),
        Case("a role with a path", "POST", f"{roles}/roles", {"metadata": {"name": "path"}, "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}),
        Case("a token for an audience", "POST", tokens, {"spec": {"audiences": ["a"], "expirationSeconds": 600}}),
        Case("a token for too long", "POST", tokens, {"spec": {"expirationSeconds": 1 << 33}}),
        Case("a token bound to nothing", "POST", tokens, {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "nothing"}}}, meant=(r"message",)),
        Case("a token bound to something else", "POST", tokens, {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "one"}}}, meant=(r"message",)),
        Case("a token of nobody", "POST", f"{space}/serviceaccounts/nobody/token", {"spec": {}}),
        Case("a token read", "GET", tokens),
        Case("a review of a token", "POST", "/apis/authentication.k8s.io/v1/tokenreviews",
             lambda answers: {"spec": {"token": answers["a token for an audience"]["body"]["status"]["token"], "audiences": ["a", "b"]}}, meant=(r"extra|spec\.token",)),
        Case("a review for another audience", "POST", "/apis/authentication.k8s.io/v1/tokenreviews",
             lambda answers: {"spec": {"token": answers["a token for an audience"]["body"]["status"]["token"], "audiences": ["c"]}}, meant=(r"status\.error|spec\.token",)),
    ]
