//! Events are news, not records: one that was not seen again for an hour is forgotten, as upstream does.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    ApiServer, Status, objects,
    parameters::ListOptions,
    verbs::{
        Call,
        delete::{self, DeleteOptions},
        list,
    },
};

/// Age at which an Event is forgotten.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Pause between two rounds: Events live at most so much longer.
const ROUND: Duration = Duration::from_secs(60);

/// Forgets old Events, round after round.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    loop {
        forget_old(server, Timestamp::now()).await?;
        tokio::time::sleep(ROUND).await;
    }
}

async fn forget_old(server: &ApiServer, now: Timestamp) -> Result<(), Status> {
    let Some(resource) = server.kinds().find("", "v1", "events") else {
        return Ok(());
    };
    let listed = list::list(
        &Call::internal(server, resource.clone(), ""),
        &ListOptions::default(),
        None,
    )
    .await?;
    for event in listed
        .items
        .iter()
        .filter(|event| last_seen(event).is_some_and(|seen| seen + LIFETIME <= now))
    {
        let call = Call::internal(server, resource.clone(), objects::namespace(event));
        let options = DeleteOptions {
            uid: Some(objects::uid(event).to_owned()),
            resource_version: Some(objects::resource_version(event).to_owned()),
            ..DeleteOptions::default()
        };
        match delete::delete(&call, objects::name(event), &options).await {
            Ok(_) => {}
            // Gone already, or seen again meanwhile.
            Err(status) if status.reason == "NotFound" || status.reason == "Conflict" => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
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
