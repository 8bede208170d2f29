//! Endpoints over real sockets on loopback. Tests wait for conditions, with a deadline far beyond what a
//! busy machine needs; none asserts that something was quick.

mod fixture;
mod links;
mod losses;
mod sessions;
mod trust;
