//! The solver's suites: properties that hold for every problem, and scenarios that are told one by one.

mod properties;
mod support;
