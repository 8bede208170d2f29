//! Paths into an object as messages print them: `spec.items[1].name`, `metadata.annotations[a/b]`.

use std::fmt;

/// A linked path on the stack of a walk: no allocation until it is printed.
#[derive(Debug, Clone, Copy)]
pub struct Path<'walk> {
    parent: Option<&'walk Self>,
    step: Step<'walk>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'walk> {
    Root,
    Field(&'walk str),
    Key(&'walk str),
    Index(usize),
}

impl<'walk> Path<'walk> {
    /// The object itself.
    pub fn root() -> Self {
        Self {
            parent: None,
            step: Step::Root,
        }
    }

    /// A declared field: `.name`.
    pub fn field(&'walk self, name: &'walk str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// A key of a map: `[key]`.
    pub fn key(&'walk self, key: &'walk str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// An item of a list: `[0]`.
    pub fn index(&'walk self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// A path several steps below, from text such as `.x.y` of a rule's `fieldPath`.
    pub fn join(&self, below: &str) -> String {
        match (self.to_string(), below.trim_start_matches('.')) {
            (here, "") => here,
            (here, below) if here.is_empty() || below.starts_with('[') => format!("{here}{below}"),
            (here, below) => format!("{here}.{below}"),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        write!(out, "{parent}")?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if matches!(parent.step, Step::Root) => write!(out, "{name}"),
            Step::Field(name) => write!(out, ".{name}"),
            Step::Key(key) => write!(out, "[{key}]"),
            Step::Index(index) => write!(out, "[{index}]"),
        }
    }
}
