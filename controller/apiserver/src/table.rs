//! What `kubectl get` prints: `meta.k8s.io/v1 Table`, and the metadata-only transformations.
//!
//! Columns are data of a [`Resource`](crate::kinds::Resource); cells are computed from the wire form of an object and the
//! present time, which is an argument.

pub mod builtin;
mod cells;
pub mod column;
pub mod duration;
pub mod jsonpath;
pub mod networking;
pub mod policies;
pub mod render;
pub mod storage;
pub mod workloads;

pub use self::column::Column;
pub use self::render::{IncludeObject, partial_metadata, partial_metadata_list, table};
