//! The router from outside: over its routes, in the process or on a socket, with a backend that follows a script.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod answers;
mod openai;
mod refusals;
mod scripted;
mod serving;
mod streams;
