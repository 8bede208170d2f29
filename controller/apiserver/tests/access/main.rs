//! Who reaches the server, what the server does by itself, and what people do with the real kubectl.

mod connections;
mod controllers;
mod kubectl;
mod program;
mod restart;
mod served;
