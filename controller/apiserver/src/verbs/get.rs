//! Reading one object.

use serde_json::Value;

use super::Call;
use crate::parameters::At;
use crate::status::Status;
use crate::storage;

/// The object as it is now. A version that has not happened yet cannot be waited for.
///
/// # Errors
/// 404 when there is none, 504 for a version from the future.
pub async fn get(call: &Call, name: &str, at: At) -> Result<Value, Status> {
    if let At::NotOlderThan(asked) | At::Exactly(asked) = at {
        let current = call.server.store().revision().await.map_err(storage::refusal)?;
        if asked > current {
            return Err(Status::too_large_resource_version(asked, current));
        }
    }
    let (object, _) = call.read(name).await?;
    call.caller.admit(None, Some(&object)).await?;
    Ok(object)
}
