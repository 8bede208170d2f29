//! What is over is forgotten, as upstream does: Events that were not seen again for an hour, certificate requests of yesterday, and
//! bootstrap tokens that let nobody in any more.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    ApiServer, Status,
    auth::bootstrap,
    objects,
    parameters::ListOptions,
    signing,
    verbs::{
        Call,
        delete::{self, DeleteOptions},
        list,
    },
};

/// Age at which an Event is forgotten.
const EVENT_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Age at which a certificate request is forgotten, whatever became of it.
const REQUEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause between two rounds: what is over stays at most so much longer.
const ROUND: Duration = Duration::from_secs(60);

/// Forgets what is over, round after round.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    loop {
        let now = Timestamp::now();
        let is_old_event = |event: &Value| last_seen(event).is_some_and(|seen| seen + EVENT_LIFETIME <= now);
        forget(server, ("", "events"), "", is_old_event).await?;
        let is_old_request =
            |request: &Value| made(request).is_some_and(|made| made + REQUEST_LIFETIME <= now);
        let requests = (signing::GROUP, "certificatesigningrequests");
        forget(server, requests, "", is_old_request).await?;
        let is_over = |secret: &Value| bootstrap::is_over(secret, now);
        forget(server, ("", "secrets"), bootstrap::NAMESPACE, is_over).await?;
        tokio::time::sleep(ROUND).await;
    }
}

/// Deletes what is over of a resource (its group and plural), in a namespace or in all.
async fn forget(
    server: &ApiServer,
    (group, plural): (&str, &str),
    namespace: &str,
    is_over: impl Fn(&Value) -> bool + Send,
) -> Result<(), Status> {
    let Some(resource) = server.kinds().find(group, "v1", plural) else {
        return Ok(());
    };
    let call = Call::internal(server, resource.clone(), namespace);
    let listed = list::list(&call, &ListOptions::default(), None).await?;
    for object in listed.items.iter().filter(|object| is_over(object)) {
        let call = Call::internal(server, resource.clone(), objects::namespace(object));
        let options = DeleteOptions {
            uid: Some(objects::uid(object).to_owned()),
            resource_version: Some(objects::resource_version(object).to_owned()),
            ..DeleteOptions::default()
        };
        match delete::delete(&call, objects::name(object), &options).await {
            Ok(_) => {}
            // Gone already, or changed meanwhile.
            Err(status) if status.reason == "NotFound" || status.reason == "Conflict" => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

fn made(object: &Value) -> Option<Timestamp> {
    objects::metadata_text(object, "creationTimestamp").parse().ok()
}

/// The latest of the times that an Event (in its core form) tells.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["firstTimestamp"],
        &event["metadata"]["creationTimestamp"],
    ];
    times
        .into_iter()
        .filter_map(|time| time.as_str()?.parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_as_old_as_its_last_observation() {
        let seen = last_seen(&json!({
            "metadata": { "creationTimestamp": "2026-11-23T00:00:00Z" }, "eventTime": null,
            "lastTimestamp": "2026-11-23T00:10:00Z", "series": { "lastObservedTime": "2026-11-23T00:20:00.5Z" },
        }));
        assert_eq!(seen, Some("2026-11-23T00:20:00.5Z".parse().unwrap()));
        assert_eq!(last_seen(&json!({})), None);
    }
}
