//! The engine from outside: real workers, a real model, and a judge that calls llama.cpp by itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod facts;
mod memory;
mod reference;
mod split;
mod support;
mod text;
mod worker;
