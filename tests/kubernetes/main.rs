//! The suites that need a real cluster: the chart installed by the real helm, controller and agents in pods, a real model
//! answering from them. `make test-kubernetes` brings a cluster up and runs them; CONTRIBUTING.md says how to run them on another.

mod access;
mod asking;
mod audit;
mod cluster;
mod failures;
mod figures;
mod fleet;
mod leadership;
mod lifecycle;
mod manifests;
mod network;
mod onlooker;
mod release;
mod rights;
mod weights;
