//! Who this control plane is: an incarnation and a salt, kept in one Secret. A control plane that was restored from a
//! backup gets a new incarnation by deleting that Secret's `incarnation`.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use kube::{Api, Client, api::PostParams};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::world::Identity;

const SECRET: &str = "edgeloom-control-plane";
const INCARNATION: &str = "incarnation";
const KEY_SALT: &str = "keySalt";

/// Why the identity could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("secret {SECRET}")]
    Api(#[from] kube::Error),
    /// The system gave no random bytes.
    #[error("the system's random number generator failed")]
    Random,
}

/// Reads the identity in `namespace`, and makes what of it is missing, the namespace too.
///
/// # Errors
///
/// When the API server refuses, or the system gives no random bytes.
pub async fn read_or_make(client: &Client, namespace: &str) -> Result<Identity, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    loop {
        let existing = api.get_opt(SECRET).await?;
        let is_new = existing.is_none();
        let mut secret = existing.unwrap_or_else(|| {
            let mut secret = Secret {
                type_: Some("edgeloom.dev/identity".to_owned()),
                ..Secret::default()
            };
            secret.metadata.name = Some(SECRET.to_owned());
            secret
        });
        let data = secret.data.get_or_insert_default();
        let known = data.len();
        let incarnation = value_or_random(data, INCARNATION)?;
        let key_salt = value_or_random(data, KEY_SALT)?;
        let complete = data.len() == known;
        let written = match (is_new, complete) {
            (false, true) => Ok(secret),
            (true, _) => api.create(&PostParams::default(), &secret).await,
            (false, false) => api.replace(SECRET, &PostParams::default(), &secret).await,
        };
        match written {
            Ok(_) => {
                return Ok(Identity {
                    incarnation,
                    key_salt,
                });
            }
            // There is no such namespace. Where one is installed into, there is, and none is to be made.
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                make_namespace(client, namespace).await?
            }
            // Another replica was faster: what it wrote is the identity.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes a namespace, if there is none of that name.
pub(crate) async fn make_namespace(client: &Client, name: &str) -> Result<(), kube::Error> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    match Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}

fn value_or_random(data: &mut BTreeMap<String, ByteString>, key: &str) -> Result<String, Error> {
    let known = data
        .get(key)
        .and_then(|value| String::from_utf8(value.0.clone()).ok());
    if let Some(value) = known.filter(|value| !value.is_empty()) {
        return Ok(value);
    }
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    let value: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    data.insert(key.to_owned(), ByteString(value.clone().into_bytes()));
    Ok(value)
}
