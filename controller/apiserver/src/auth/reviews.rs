//! Answers to questions about identity and permission: the resources of `authentication.k8s.io` and
//! `authorization.k8s.io`, which store nothing (`kubectl auth whoami`, `kubectl auth can-i`), and TokenRequest.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Caller, Decision, RequestAttributes, UserInfo};
use crate::status::{Cause, GroupKind, Status};

/// Lifetime of a requested token when the request names none, as upstream.
const TOKEN_SECONDS: u64 = 3600;
/// Bounds of what a request may name, as upstream.
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Answers the review `body` (an object of the wire form) that was created as `resource` (plural). The answer is the
/// same object with its `status`.
///
/// # Errors
/// 404 for a resource that is no review, 400 for a review that does not say what it asks.
pub async fn answer(caller: &Caller, resource: &str, mut body: Value) -> Result<Value, Status> {
    let spec = body["spec"].clone();
    let status = match resource {
        "selfsubjectreviews" => json!({ "userInfo": user_value(caller.user()) }),
        "selfsubjectaccessreviews" => access(caller, caller.user().clone(), &spec).await?,
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access(caller, reviewed_user(&spec)?, &spec).await?
        }
        "selfsubjectrulesreviews" => match spec["namespace"].as_str().unwrap_or_default() {
            "" => return Err(Status::bad_request("no namespace on request")),
            namespace => own_rules(caller, namespace),
        },
        "tokenreviews" => token_review(caller, &spec)?,
        _ => return Err(Status::no_such_resource()),
    };
    body["status"] = status;
    Ok(body)
}

/// What the caller may do in a namespace. Authorizers that are functions and not lists of rules can be asked, but not listed.
fn own_rules(caller: &Caller, namespace: &str) -> Value {
    let is_master = caller.user().is_in(super::MASTERS);
    let mut of_resources = Vec::new();
    let mut of_paths = vec![
        json!({ "verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez",
        "/openapi", "/openapi/*", "/readyz", "/version"] }),
    ];
    if is_master {
        of_resources.push(json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }));
    }
    let listed = caller.rules(namespace);
    for rule in listed.iter().flatten() {
        let list = if rule.non_resource_urls.is_empty() {
            &mut of_resources
        } else {
            &mut of_paths
        };
        list.push(json!(rule));
    }
    let complete = is_master || listed.is_some();
    let why = "some authorizers of this server do not list rules; ask with a SelfSubjectAccessReview";
    json!({
        "resourceRules": of_resources, "nonResourceRules": of_paths, "incomplete": !complete,
        "evaluationError": if complete { "" } else { why },
    })
}

/// Answers a TokenRequest for the ServiceAccount `namespace`/`name` of this `uid`, which exists.
///
/// # Errors
/// 400 for a lifetime out of bounds; 500 when no token can be made.
pub fn request_token(
    caller: &Caller,
    namespace: &str,
    name: &str,
    uid: &str,
    mut body: Value,
) -> Result<Value, Status> {
    let tokens = caller
        .tokens()
        .ok_or_else(|| Status::internal("this server issues no tokens"))?;
    let seconds = lifetime(&body["spec"]["expirationSeconds"])?;
    let mut audiences: Vec<String> = strings(&body["spec"]["audiences"]);
    if audiences.is_empty() {
        audiences.push(super::tokens::ISSUER.to_owned());
    }
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let user = UserInfo {
        uid: uid.to_owned(),
        ..UserInfo::authenticated(format!("system:serviceaccount:{namespace}:{name}"), groups)
    };
    let (now, lifetime) = (Timestamp::now(), Duration::from_secs(seconds));
    let token = tokens
        .issue(&user, &audiences, lifetime, now)
        .map_err(Status::internal)?;
    let until = Timestamp::from_second((now + lifetime).as_second()).expect("within a century of now");
    body["spec"]["audiences"] = json!(audiences);
    body["spec"]["expirationSeconds"] = json!(seconds);
    if body["spec"].get("boundObjectRef").is_none() {
        body["spec"]["boundObjectRef"] = Value::Null;
    }
    body["status"] = json!({ "token": token, "expirationTimestamp": until.to_string() });
    Ok(body)
}

/// The seconds for which a token is asked.
fn lifetime(asked: &Value) -> Result<u64, Status> {
    let why = match asked.as_i64() {
        None if asked.is_null() => return Ok(TOKEN_SECONDS),
        None => "must be a whole number",
        Some(seconds) if seconds < TOKEN_SECONDS_MIN => "may not specify a duration less than 10 minutes",
        Some(seconds) if seconds > TOKEN_SECONDS_MAX => "may not specify a duration larger than 2^32 seconds",
        Some(seconds) => return Ok(seconds.unsigned_abs()),
    };
    let kind = GroupKind {
        group: "authentication.k8s.io".into(),
        kind: "TokenRequest".into(),
    };
    let cause = Cause::invalid("spec.expirationSeconds", asked, why);
    Err(Status::invalid(&kind, "", vec![cause]))
}

async fn access(caller: &Caller, user: UserInfo, spec: &Value) -> Result<Value, Status> {
    let attributes = asked_attributes(user, spec)?;
    Ok(match caller.decide(&attributes).await {
        Decision::Allow => json!({ "allowed": true }),
        Decision::Deny(reason) if !reason.is_empty() => {
            json!({ "allowed": false, "denied": true, "reason": reason })
        }
        Decision::Deny(_) | Decision::NoOpinion => json!({ "allowed": false }),
    })
}

fn asked_attributes(user: UserInfo, spec: &Value) -> Result<RequestAttributes, Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    match (resource.is_object(), path.is_object()) {
        (true, false) => Ok(RequestAttributes {
            user,
            verb: text(&resource["verb"]),
            group: text(&resource["group"]),
            version: text(&resource["version"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            resource_request: true,
            field_selector: asked_selection(&resource["fieldSelector"]),
            ..RequestAttributes::default()
        }),
        (false, true) => Ok(RequestAttributes {
            user,
            verb: text(&path["verb"]),
            path: text(&path["path"]),
            ..RequestAttributes::default()
        }),
        (asks, _) => {
            let (field, value, why) = if asks {
                let why = "cannot be specified in combination with resourceAttributes";
                ("spec.nonResourceAttributes", path, why)
            } else {
                let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                ("spec", &Value::Null, why)
            };
            Err(refusal(Cause::invalid(field, value, why)))
        }
    }
}

/// A question that is none. As upstream: the refusal does not name the kind.
fn refusal(cause: Cause) -> Status {
    let kind = GroupKind {
        group: "authorization.k8s.io".into(),
        kind: String::new(),
    };
    Status::invalid(&kind, "", vec![cause])
}

/// The single values that the field selector of a review demands.
fn asked_selection(selector: &Value) -> Vec<(String, String)> {
    let requirements = selector["requirements"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    requirements
        .iter()
        .filter(|requirement| requirement["operator"] == "In")
        .filter_map(|requirement| match strings(&requirement["values"]).as_slice() {
            [only] => Some((requirement["key"].as_str()?.to_owned(), only.clone())),
            _ => None,
        })
        .collect()
}

fn reviewed_user(spec: &Value) -> Result<UserInfo, Status> {
    let name = spec["user"].as_str().unwrap_or_default().to_owned();
    let groups = strings(&spec["groups"]);
    if name.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(refusal(Cause::invalid("spec.user", json!(""), why)));
    }
    Ok(UserInfo {
        name,
        groups,
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        ..UserInfo::default()
    })
}

fn token_review(caller: &Caller, spec: &Value) -> Result<Value, Status> {
    let token = spec["token"].as_str().filter(|token| !token.is_empty());
    let token =
        token.ok_or_else(|| Status::bad_request("spec.token: Required value: the token to review"))?;
    let mut audiences = strings(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(super::tokens::ISSUER.to_owned());
    }
    let verified = caller
        .tokens()
        .and_then(|tokens| tokens.verify_for(token, &audiences, Timestamp::now()));
    Ok(match verified {
        Some((user, audiences)) => {
            json!({ "authenticated": true, "user": user_value(&user), "audiences": audiences })
        }
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    })
}

fn user_value(user: &UserInfo) -> Value {
    let UserInfo {
        name,
        uid,
        groups,
        extra,
    } = user;
    let mut value = json!({ "username": name, "groups": groups });
    if !uid.is_empty() {
        value["uid"] = json!(uid);
    }
    if !extra.is_empty() {
        value["extra"] = json!(extra);
    }
    value
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::{Chain, MASTERS, tokens::Tokens};

    fn caller(user: UserInfo) -> Caller {
        let attributes = RequestAttributes {
            user,
            ..RequestAttributes::default()
        };
        Caller::new(attributes, Arc::new(Chain::default()))
            .with_tokens(Arc::new(Tokens::ephemeral().unwrap()))
    }

    #[tokio::test]
    async fn callers_learn_who_they_are_and_what_they_may() {
        let jane = caller(UserInfo::authenticated("jane", ["a"]));
        let said = answer(&jane, "selfsubjectreviews", json!({})).await.unwrap();
        assert_eq!(said["status"]["userInfo"]["username"], "jane");
        let asked = json!({ "spec": { "resourceAttributes": { "verb": "delete", "resource": "nodes" } } });
        let said = answer(&jane, "selfsubjectaccessreviews", asked.clone())
            .await
            .unwrap();
        assert_eq!(said["status"]["allowed"], false);
        let admin = caller(UserInfo::authenticated("root", [MASTERS]));
        let said = answer(&admin, "selfsubjectaccessreviews", asked).await.unwrap();
        assert_eq!(said["status"]["allowed"], true);
        assert_eq!(
            answer(&admin, "selfsubjectaccessreviews", json!({}))
                .await
                .unwrap_err()
                .code,
            422
        );
    }

    #[tokio::test]
    async fn a_requested_token_is_its_service_account() {
        let admin = caller(UserInfo::loopback());
        let granted = request_token(&admin, "ns", "robot", "u1", json!({ "spec": {} })).unwrap();
        let token = granted["status"]["token"].clone();
        let review = json!({ "spec": { "token": token } });
        let said = answer(&admin, "tokenreviews", review).await.unwrap();
        assert_eq!(
            said["status"]["user"]["username"],
            "system:serviceaccount:ns:robot"
        );
        let for_others = json!({ "spec": { "audiences": ["a"] } });
        let granted = request_token(&admin, "ns", "robot", "u1", for_others).unwrap();
        let token = granted["status"]["token"].clone();
        for (audiences, meant) in [(json!(["a", "b"]), json!(["a"])), (json!([]), Value::Null)] {
            let review = json!({ "spec": { "token": token, "audiences": audiences } });
            let said = answer(&admin, "tokenreviews", review).await.unwrap();
            assert_eq!(said["status"]["audiences"], meant, "{said}");
            assert_eq!(said["status"]["authenticated"] == true, !meant.is_null());
        }
        for (seconds, why) in [
            (1_i64, "may not specify a duration less than 10 minutes"),
            (1_i64 << 33, "may not specify a duration larger than 2^32 seconds"),
        ] {
            let asked = json!({ "spec": { "expirationSeconds": seconds } });
            let refused = request_token(&admin, "ns", "robot", "u1", asked).unwrap_err();
            assert_eq!(refused.code, 422);
            assert!(refused.message.ends_with(why), "{refused}");
        }
    }
}
