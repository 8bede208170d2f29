//! Endpoints over real sockets on loopback. Tests wait for conditions, with a deadline far beyond what a
//! busy machine needs; none asserts that something was quick.

#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod fixture;
mod links;
mod losses;
mod sessions;
mod trust;
