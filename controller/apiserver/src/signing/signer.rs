//! Signs the requests that were approved. Several servers of one store do: the first one's certificate stays.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CLIENT_SIGNER, GROUP, Request, has_condition};
use crate::auth::authority::Authority;
use crate::parameters::WriteOptions;
use crate::store::{self, Range};
use crate::verbs::Call;
use crate::verbs::update::{Change, Method, Part, change_object};
use crate::{ApiServer, Status, objects, storage};

/// The longest validity of a certificate, and that of one that asks for none: upstream's.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Signs until the store's history no longer reaches back to where it is; then it is to be called again.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer, authority: &Authority) -> Result<(), Status> {
    let Some(requests) = server.kinds().find(GROUP, "v1", "certificatesigningrequests") else {
        return Ok(());
    };
    let prefix = storage::prefix(&requests, "");
    let store = server.store();
    let page = store
        .list(&prefix, Range::default())
        .await
        .map_err(storage::refusal)?;
    let mut watch = store
        .watch(&prefix, page.revision)
        .await
        .map_err(storage::refusal)?;
    let call = Call::internal(server, requests.clone(), "");
    for entry in &page.entries {
        sign(&call, authority, &storage::decode(&requests, entry)?).await?;
    }
    loop {
        let events = match watch.next().await {
            Ok(events) => events,
            // Not a failure: the next run reads everything anew.
            Err(store::Error::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(storage::refusal(error)),
        };
        for event in events {
            let Some(value) = &event.value else { continue };
            let request = storage::decode_at(&requests, &event.key, value, event.revision)?;
            sign(&call, authority, &request).await?;
        }
    }
}

/// Whether it waits for this signer.
fn waits(request: &Value) -> bool {
    request["spec"]["signerName"] == CLIENT_SIGNER
        && has_condition(request, "Approved")
        && !has_condition(request, "Denied")
        && !has_condition(request, "Failed")
        && request["status"]["certificate"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
}

async fn sign(call: &Call, authority: &Authority, request: &Value) -> Result<(), Status> {
    if !waits(request) {
        return Ok(());
    }
    let now = Timestamp::now();
    let signed = certificate(authority, &request["spec"], now);
    let change = Change {
        part: Part::Status,
        options: WriteOptions::default(),
        method: Method::Patch(None),
    };
    let written = change_object(call, objects::name(request), change, |old| {
        let mut new = old.clone();
        if waits(old) {
            write(&mut new["status"], &signed, now);
        }
        Ok(new)
    });
    match written.await {
        Ok(_) => {
            let name = objects::name(request);
            let user = request["spec"]["username"].as_str().unwrap_or_default();
            match &signed {
                Ok(_) => tracing::info!(request = name, user, "a certificate was signed"),
                Err(why) => tracing::warn!(request = name, user, why, "a certificate cannot be signed"),
            }
            Ok(())
        }
        // Somebody has deleted it, or writes to it: then the next event has it again.
        Err(status) if matches!(status.reason, "NotFound" | "Conflict") => Ok(()),
        Err(status) => Err(status),
    }
}

fn write(status: &mut Value, signed: &Result<String, String>, now: Timestamp) {
    match signed {
        Ok(pem) => status["certificate"] = STANDARD.encode(pem).into(),
        Err(why) => {
            let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": time, "lastTransitionTime": time});
            if let Some(conditions) = status["conditions"].as_array_mut() {
                conditions.push(failed);
            }
        }
    }
}

/// The certificate that `spec` asks for, or why there is none.
fn certificate(authority: &Authority, spec: &Value, now: Timestamp) -> Result<String, String> {
    let request = Request::read_base64(spec["request"].as_str().unwrap_or_default())?;
    if request.common_name.is_empty() {
        return Err("the request has no common name".to_owned());
    }
    if request.asks_for_names {
        return Err(format!("{CLIENT_SIGNER} signs no hostnames and addresses"));
    }
    let usages: Vec<&str> = spec["usages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    const KNOWN: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
    if !usages.contains(&"client auth") || usages.iter().any(|usage| !KNOWN.contains(usage)) {
        return Err(format!(
            "{CLIENT_SIGNER} signs for \"client auth\", with \"digital signature\" or \"key encipherment\""
        ));
    }
    let asked = spec["expirationSeconds"].as_u64().map(Duration::from_secs);
    let lifetime = asked.map_or(LONGEST, |asked| asked.min(LONGEST));
    authority
        .sign_client(&request, lifetime, now)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::pem;
    use super::*;
    use crate::auth::certificates;

    #[test]
    fn a_certificate_says_what_was_asked_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let authority = Authority::open(folder.path(), now).unwrap();
        let spec = |usages: Value, seconds: i64| json!({"request": STANDARD.encode(pem("edge", Some("nodes"))), "usages": usages, "expirationSeconds": seconds});
        let signed = certificate(
            &authority,
            &spec(json!(["client auth", "digital signature"]), 3600),
            now,
        )
        .unwrap();
        assert!(certificates::is_signed_by(&signed, authority.certificate_pem()));
        let facts = certificates::read_pem(&signed).unwrap();
        assert_eq!(
            (facts.common_name.as_str(), facts.organizations),
            ("edge", vec!["nodes".to_owned()])
        );
        assert_eq!(facts.not_after, now + Duration::from_secs(3600));
        let long = certificate(
            &authority,
            &spec(json!(["client auth"]), i64::from(i32::MAX)),
            now,
        )
        .unwrap();
        assert_eq!(certificates::read_pem(&long).unwrap().not_after, now + LONGEST);
        for usages in [json!(["server auth"]), json!(["client auth", "server auth"])] {
            let refused = certificate(&authority, &spec(usages, 3600), now).unwrap_err();
            assert!(refused.contains("client auth"), "{refused}");
        }
    }
}
