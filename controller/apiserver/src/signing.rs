//! CertificateSigningRequests: what may be asked, who approves and who signs. A machine that joins asks with one for the certificate by
//! which it is known from then on; people and programs may do the same.
//!
//! Requests are approved by whoever may: nothing here approves any. This server signs what is approved for [`CLIENT_SIGNER`]; requests to
//! other signers are kept for them.

mod request;
pub(crate) mod signer;

use serde_json::Value;

use crate::auth::{Decision, MASTERS, RequestAttributes};
use crate::kinds::Resource;
use crate::objects;
use crate::status::{Cause, Status};
use crate::verbs::Call;
pub use request::Request;

/// The API group of requests.
pub const GROUP: &str = "certificates.k8s.io";
/// The kind of requests.
pub const KIND: &str = "CertificateSigningRequest";
/// Signs certificates with which clients prove to this server who they are.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// The shortest validity that may be asked for, in seconds: upstream's.
const SHORTEST_SECONDS: i64 = 600;

/// Whether objects of this kind are requests.
pub(crate) fn is_request(resource: &Resource) -> bool {
    resource.group == GROUP && resource.kind == KIND
}

/// What is wrong with a new request.
pub(crate) fn validate(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    match spec["request"].as_str().unwrap_or_default() {
        "" => causes.push(Cause::required("spec.request", "")),
        text => {
            // Whether it can be signed is its signer's concern.
            if let Err(why) = request::decode(text) {
                causes.push(Cause::invalid("spec.request", Value::from(text), &why));
            }
        }
    }
    if spec["usages"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.usages", ""));
    }
    match spec["signerName"].as_str().unwrap_or_default() {
        "" => causes.push(Cause::required("spec.signerName", "")),
        name if !is_signer_name(name) => {
            let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            causes.push(Cause::invalid("spec.signerName", Value::from(name), why));
        }
        _ => {}
    }
    if let Some(seconds) = spec["expirationSeconds"].as_i64()
        && seconds < SHORTEST_SECONDS
    {
        let why = format!("may not specify a duration less than {SHORTEST_SECONDS} seconds (10 minutes)");
        causes.push(Cause::invalid("spec.expirationSeconds", seconds, &why));
    }
    causes
}

fn is_signer_name(name: &str) -> bool {
    let Some((domain, path)) = name.split_once('/') else {
        return false;
    };
    domain.contains('.') && !path.is_empty() && name.len() <= 571
}

/// Whether the caller may write this: nobody becomes a master by a certificate, and approving and signing are rights of their own.
///
/// # Errors
/// 403.
pub(crate) async fn check(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    if !is_request(&call.resource) {
        return Ok(());
    }
    let signer = new["spec"]["signerName"].as_str().unwrap_or_default();
    let refused = |why: String| {
        Err(Status::forbidden(
            &call.group_resource(),
            objects::name(new),
            &why,
        ))
    };
    let Some(old) = old else {
        let asked = new["spec"]["request"].as_str().unwrap_or_default();
        let master = Request::read_base64(asked).is_ok_and(|asked| asked.organization == MASTERS);
        if signer == CLIENT_SIGNER && master {
            return refused(format!(
                "use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
            ));
        }
        return Ok(());
    };
    if call.caller.user().is_in(MASTERS) {
        return Ok(());
    }
    let changes = |pointer| new.pointer(pointer) != old.pointer(pointer);
    let verdict = |object| ["Approved", "Denied"].map(|kind| has_condition(object, kind));
    let verb = if verdict(new) != verdict(old) {
        "approve"
    } else if changes("/status/certificate") {
        "sign"
    } else {
        return Ok(());
    };
    if may(call, verb, signer).await {
        return Ok(());
    }
    refused(format!(
        "user not permitted to {verb} requests with signerName {signer:?}"
    ))
}

/// Whether the caller may do this with requests to the signer; by name, or to all of its domain.
async fn may(call: &Call, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let attributes = RequestAttributes {
            user: call.caller.user().clone(),
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            resource_request: true,
            ..RequestAttributes::default()
        };
        if call.caller.decide(&attributes).await == Decision::Allow {
            return true;
        }
    }
    false
}

/// Whether a condition of this type is true.
pub fn has_condition(request: &Value, kind: &str) -> bool {
    let conditions = request["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_that_nobody_could_sign_is_refused() {
        let pem = request::tests::pem("edge", Some("nodes"));
        let good = json!({"spec": {"request": STANDARD.encode(pem), "signerName": CLIENT_SIGNER, "usages": ["client auth"]}});
        assert_eq!(validate(&good), []);
        let mut bad = good.clone();
        bad["spec"] =
            json!({"request": STANDARD.encode("hello"), "signerName": "edge", "expirationSeconds": 10});
        let fields: Vec<String> = validate(&bad).into_iter().map(|cause| cause.field).collect();
        let expected = [
            "spec.request",
            "spec.usages",
            "spec.signerName",
            "spec.expirationSeconds",
        ];
        assert_eq!(fields, expected);
        let fields: Vec<String> = validate(&json!({}))
            .into_iter()
            .map(|cause| cause.field)
            .collect();
        assert_eq!(fields, ["spec.request", "spec.usages", "spec.signerName"]);
    }
}
