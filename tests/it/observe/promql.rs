//! What a PromQL expression names: metrics with their matchers, and labels. No parser, only what suffices to look each of
//! them up; Prometheus itself judges the syntax.

use std::collections::BTreeSet;

/// Words that are followed by a list of labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// A metric and its matchers, such as `up{job="a"}`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
pub(super) struct Selector {
    pub(super) name: String,
    /// With braces; empty when there are none.
    pub(super) matchers: String,
}

impl Selector {
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.name, self.matchers)
    }

    /// The labels that its matchers name.
    pub(super) fn labels(&self) -> BTreeSet<String> {
        names(&without_strings(&self.matchers)).into_iter().collect()
    }
}

/// What an expression names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Named {
    pub(super) selectors: BTreeSet<Selector>,
    /// Labels by which it groups or joins.
    pub(super) labels: BTreeSet<String>,
}

/// Looks an expression through. A metric is told by its name: all of ours, and those of the process collector, have an
/// underscore, and no function is followed by anything but a parenthesis.
pub(super) fn look_through(expression: &str) -> Named {
    let mut named = Named::default();
    let blanked = without_strings(expression);
    let mut at = 0;
    while let Some((start, end)) = next_name(&blanked, at) {
        let name = &blanked[start..end];
        let rest = blanked[end..].trim_start();
        let behind = blanked.len() - rest.len();
        at = end;
        if GROUPINGS.contains(&name) {
            if rest.starts_with('(') {
                let close = behind + blanked[behind..].find(')').expect("a list of labels is closed");
                named.labels.extend(names(&blanked[behind..close]));
                at = close;
            }
        } else if name.contains('_') && !rest.starts_with('(') {
            let mut matchers = String::new();
            if rest.starts_with('{') {
                at = behind + blanked[behind..].find('}').expect("matchers are closed") + 1;
                expression[behind..at].clone_into(&mut matchers);
            }
            let name = name.to_owned();
            named.selectors.insert(Selector { name, matchers });
        }
        // Durations look like names.
        if blanked[at..].starts_with('[') {
            at += blanked[at..].find(']').expect("a range is closed");
        }
    }
    named
}

/// The text with the content of its strings blanked, byte for byte, so that places stay the same.
fn without_strings(text: &str) -> String {
    let mut within = false;
    let blank = |character: char| {
        if character == '"' {
            within = !within;
            return "\"".to_owned();
        }
        if within {
            " ".repeat(character.len_utf8())
        } else {
            character.to_string()
        }
    };
    text.chars().map(blank).collect()
}

fn names(text: &str) -> Vec<String> {
    let mut names = vec![];
    let mut at = 0;
    while let Some((start, end)) = next_name(text, at) {
        names.push(text[start..end].to_owned());
        at = end;
    }
    names
}

/// The next run of characters that a name may have and that begins like one.
fn next_name(text: &str, from: usize) -> Option<(usize, usize)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let bytes = text.as_bytes();
    let mut start = from;
    loop {
        start += bytes[start..].iter().position(|byte| is_part(*byte))?;
        let length = bytes[start..].iter().take_while(|byte| is_part(**byte)).count();
        // A number, such as 0.95 or 5e3.
        if !bytes[start].is_ascii_digit() {
            return Some((start, start + length));
        }
        start += length;
    }
}

#[test]
fn metrics_matchers_and_labels_are_found_and_nothing_else() {
    let named = look_through(
        r#"histogram_quantile(0.95, sum by (service, le) (rate(a_bucket{x="by (y)", z!~"q}"}[5m]))) > on (node)
           group_left () max(r:b_c:d) or time() - e_f > 1e3"#,
    );
    let selectors: Vec<_> = named.selectors.iter().map(Selector::text).collect();
    assert_eq!(selectors, [r#"a_bucket{x="by (y)", z!~"q}"}"#, "e_f", "r:b_c:d"]);
    assert_eq!(named.labels.iter().collect::<Vec<_>>(), ["le", "node", "service"]);
    let matched = named.selectors.first().expect("a selector").labels();
    assert_eq!(matched.iter().collect::<Vec<_>>(), ["x", "z"]);
}
