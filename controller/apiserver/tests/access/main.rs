//! Who reaches the server, what the server does by itself, and what people do with the real kubectl.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod applying;
mod connections;
mod controllers;
mod crashes;
#[path = "../store/etcd.rs"]
#[allow(dead_code, reason = "the tests of stores use more of it")]
mod etcd;
mod helm;
mod kubectl;
mod operations;
mod program;
mod restart;
mod roles;
mod served;
