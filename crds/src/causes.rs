//! Errors in one line, for logs, statuses and people.

use std::error::Error;

/// An error with all that caused it, each cause once: sources that repeat what was said already are left out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (text, rest) = texts.split_first().unwrap();
        Link {
            text,
            source: (!rest.is_empty()).then(|| Box::new(chain(rest))),
        }
    }

    #[test]
    fn an_error_is_one_line_with_each_cause_once() {
        let error = chain(&["cannot start", "cannot read x: no such file", "no such file"]);
        assert_eq!(with_causes(&error), "cannot start: cannot read x: no such file");
        assert_eq!(with_causes(&chain(&["alone"])), "alone");
    }
}
