//! An embeddable Kubernetes-compatible API server: `kubectl`, `helm`, `kube` and other clients work against it unchanged.
//!
//! It knows a handful of built-in kinds and serves any `CustomResourceDefinition`; it knows none of Edgeloom's. [`ApiServer::router`]
//! is an axum `Router`, hence a tower service, hence what `kube::Client::new` takes: a client in the same process needs no socket.
//!
//! A request passes `auth` (who is it, may they), `routes` (what is asked), a verb of `verbs` (the rules of HTTP and metadata),
//! `kinds` (the rules of the object's kind) and `store` (the one place where something changes).

mod admission;
pub mod audit;
pub mod auth;
mod compression;
pub mod controllers;
mod deadline;
mod definitions;
pub mod discovery;
mod expiry;
mod garbage;
pub mod go;
pub mod health;
pub mod kinds;
pub mod managed;
pub mod metrics;
pub mod namespace;
pub mod negotiation;
pub mod objects;
pub mod openapi;
pub mod parameters;
pub mod patch;
pub mod present;
pub mod protobuf;
pub mod routes;
pub mod schema;
pub mod selector;
pub mod serve;
mod server;
pub mod signing;
pub mod status;
pub mod storage;
pub mod store;
pub mod table;
pub mod verbs;
pub mod wire;

pub use server::{ApiServer, Options};
pub use status::Status;
