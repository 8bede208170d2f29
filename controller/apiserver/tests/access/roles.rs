//! What roles allow, with the real kubectl as people who have some.

use crate::{program::Kubectl, served::Served};

/// Waits until `line` succeeds: a binding counts once its event has been seen.
async fn until_ok(kubectl: &Kubectl, line: &str) -> String {
    let deadline = std::time::Instant::now() + crate::served::SOON;
    loop {
        let said = kubectl.call(line, "").await;
        if said.ok {
            return said.out;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "kubectl {line}: {}{}",
            said.out,
            said.err
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_bound_to_a_role_may_do_what_it_says_where_it_is_bound() {
    let served = Served::new().await;
    let admin = Kubectl::new(served.kubeconfig());
    let jane = Kubectl::new(served.kubeconfig_of("jane", "people"));
    let refused = jane.fails("get configmaps", "").await;
    assert!(
        refused.contains(
            r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#
        ),
        "{refused}"
    );
    admin.ok("create ns one").await;
    admin
        .ok("create role reader -n one --verb=get,list --resource=configmaps")
        .await;
    admin
        .ok("create rolebinding reader -n one --role=reader --group=people")
        .await;
    until_ok(&jane, "get configmaps -n one").await;
    assert!(
        !jane.call("get configmaps", "").await.ok,
        "only where it is bound"
    );
    assert_eq!(jane.ok("auth can-i list configmaps -n one").await, "yes\n");
    let listed = jane.ok("auth can-i --list -n one").await;
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("configmaps") && line.contains("[get list]")),
        "{listed}"
    );
    admin
        .ok("create clusterrolebinding look --clusterrole=view --user=jane")
        .await;
    until_ok(&jane, "get services -A").await;
    assert_eq!(jane.call("auth can-i get secrets", "").await.out, "no\n");
    let as_account = "get configmaps -n one --as=system:serviceaccount:one:robot";
    assert!(!admin.call(as_account, "").await.ok);
    admin
        .ok("create rolebinding robot -n one --clusterrole=edit --serviceaccount=one:robot")
        .await;
    until_ok(&admin, as_account).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_grants_what_they_do_not_have() {
    let served = Served::new().await;
    let admin = Kubectl::new(served.kubeconfig());
    let jane = Kubectl::new(served.kubeconfig_of("jane", "people"));
    admin
        .ok("create clusterrolebinding jane --clusterrole=admin --user=jane")
        .await;
    until_ok(&jane, "get roles").await;
    jane.ok("create role own --verb=get --resource=configmaps").await;
    let more = jane
        .fails("create role more --verb=get --resource=nodes", "")
        .await;
    assert!(
        more.contains(
            "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"people\" \"system:authenticated\"]) is \
             attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"
        ),
        "{more}"
    );
    let bound = jane
        .fails(
            "create rolebinding all --clusterrole=cluster-admin --user=jane",
            "",
        )
        .await;
    assert!(
        bound.contains("is attempting to grant RBAC permissions not currently held"),
        "{bound}"
    );
    jane.ok("create rolebinding some --clusterrole=view --user=bob")
        .await;
    let missing = jane
        .fails("create rolebinding none --role=nothing --user=bob", "")
        .await;
    assert!(
        missing.contains(r#"roles.rbac.authorization.k8s.io "nothing" not found"#),
        "{missing}"
    );
    admin
        .ok("create clusterrole binder --verb=bind --resource=clusterroles.rbac.authorization.k8s.io")
        .await;
    admin
        .ok("create clusterrolebinding binder --clusterrole=binder --user=jane")
        .await;
    until_ok(
        &jane,
        "create rolebinding all --clusterrole=cluster-admin --user=bob",
    )
    .await;
    let changed = admin
        .fails(
            "patch rolebinding all --type=merge -p '{\"roleRef\":{\"name\":\"view\"}}'",
            "",
        )
        .await;
    assert!(changed.contains("field is immutable"), "{changed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_gather_the_rules_of_others_by_labels() {
    let served = Served::new().await;
    let admin = Kubectl::new(served.kubeconfig());
    admin
        .ok("create clusterrole more --verb=get --resource=nodes")
        .await;
    admin
        .ok("label clusterrole more rbac.authorization.k8s.io/aggregate-to-view=true")
        .await;
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin";
    served
        .until(path, |_, role| {
            let rules = role["rules"].as_array().into_iter().flatten();
            rules
                .clone()
                .any(|rule| rule["resources"] == serde_json::json!(["nodes"]))
        })
        .await;
}
