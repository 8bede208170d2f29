//! What `kubectl get` prints: `meta.k8s.io/v1 Table`, and the metadata-only transformations.
//!
//! Columns are data of a [`Resource`]; cells are computed from the wire form of an object and the present time, which is
//! an argument.

pub mod column;

pub use self::column::Column;
