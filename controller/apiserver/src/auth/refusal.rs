//! The sentence with which a request is refused, in upstream's words.

use super::RequestAttributes;
use crate::status::{GroupResource, Status};

/// 403 for this request, with `reason` (may be empty) at its end.
pub fn refusal(attributes: &RequestAttributes, reason: &str) -> Status {
    let cannot = cannot(attributes);
    let sentence = if reason.is_empty() {
        cannot
    } else {
        format!("{cannot}: {reason}")
    };
    let RequestAttributes {
        group,
        resource,
        name,
        path,
        ..
    } = attributes;
    if !attributes.resource_request {
        return Status::forbidden_path(path, &sentence);
    }
    let about = GroupResource {
        group: group.clone(),
        resource: resource.clone(),
    };
    Status::forbidden(&about, name, &sentence)
}

fn cannot(attributes: &RequestAttributes) -> String {
    let RequestAttributes {
        user,
        verb,
        group,
        namespace,
        path,
        ..
    } = attributes;
    if !attributes.resource_request {
        return format!("User {:?} cannot {verb} path {path:?}", user.name);
    }
    let resource = attributes.full_resource();
    let place = match namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    format!(
        "User {:?} cannot {verb} resource {resource:?} in API group {group:?} {place}",
        user.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;

    fn said(method: &str, path: &str, reason: &str) -> String {
        let user = UserInfo::authenticated("u", [""; 0]);
        let attributes = RequestAttributes::read(user, &method.parse().unwrap(), path, None);
        refusal(&attributes, reason).to_string()
    }

    #[test]
    fn the_words_are_upstreams() {
        assert_eq!(
            said("PATCH", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/n", ""),
            "leases.coordination.k8s.io \"n\" is forbidden: User \"u\" cannot patch resource \"leases\" \
             in API group \"coordination.k8s.io\" in the namespace \"ns\""
        );
        assert_eq!(
            said("GET", "/api/v1/nodes", "no rule"),
            "nodes is forbidden: User \"u\" cannot list resource \"nodes\" in API group \"\" at the cluster scope: \
             no rule"
        );
        assert_eq!(
            said("GET", "/metrics", ""),
            "forbidden: User \"u\" cannot get path \"/metrics\""
        );
    }
}
