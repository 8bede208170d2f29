//! Real kube clients, and plain HTTP where the exact answer matters, against a server in this process.

mod applies;
mod harness;

mod answers;
mod builtin;
mod corners;
mod crud;
mod definitions;
mod deletions;
mod lists;
mod patches;
mod policies;
mod upstream;
mod watches;
