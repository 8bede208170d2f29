//! The engine from outside: real workers, a real model, and a judge that calls llama.cpp by itself.

mod reference;
mod split;
mod support;
mod text;
mod worker;
