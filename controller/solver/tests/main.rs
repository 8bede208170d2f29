//! The solver's suites: properties that hold for every problem, scenarios and explanations that are told one by one.

mod assisted;
mod caching;
mod contingencies;
mod explanations;
mod joint;
mod mobility;
mod properties;
mod region;
mod regional;
mod rules;
mod scenarios;
mod support;
mod together;
mod u_shape;
mod why_not;
