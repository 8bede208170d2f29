//! Prose for people.
