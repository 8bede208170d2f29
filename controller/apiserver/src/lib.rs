//! An embeddable Kubernetes-compatible API server: `kubectl`, `helm`, `kube` and other clients work against it unchanged.
//!
//! It knows a handful of built-in kinds and serves any `CustomResourceDefinition`; it knows none of Edgeloom's. [`ApiServer::router`]
//! is an axum `Router`, hence a tower service, hence what `kube::Client::new` takes: a client in the same process needs no socket.

pub mod auth;
pub mod discovery;
pub mod kinds;
pub mod openapi;
pub mod protobuf;
pub mod schema;
pub mod status;
pub mod store;
pub mod table;

pub use status::Status;
