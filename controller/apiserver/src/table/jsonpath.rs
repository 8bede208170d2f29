//! The JSON paths of printer columns: `.spec.size`, `.items[0].name`, `.conditions[?(@.type=='Ready')].status`.
//!
//! Steps: `.name` (with `\.` for a dot in the name), `['name']`, `[index]` (negative from the end), `[*]`, and filters that
//! compare one field with a constant. Recursive descent, slices and unions are not printed as columns by anyone, and refused.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Filter {
        path: Vec<Self>,
        comparison: Comparison,
        constant: Value,
    },
    Exists(Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a path does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path starts with a dot or a bracket.
    #[error("a path starts with '.' or '[', found {0:?}")]
    Start(String),
    /// A name is missing after a dot.
    #[error("a name is missing after '.' at {0:?}")]
    EmptyName(String),
    /// A bracket is not closed.
    #[error("unterminated '[' at {0:?}")]
    Unterminated(String),
    /// What stands in brackets is no index, no name in quotes, no `*` and no filter.
    #[error("unrecognized [{0}]: give an index, '*', a name in quotes, or ?(@.field=='value')")]
    Bracket(String),
    /// A filter compares a field of `@` with a constant.
    #[error("unrecognized filter {0:?}: give @.field, an operator and a constant")]
    Filter(String),
}

impl JsonPath {
    /// Parses a path. Braces around it, as kubectl's own templates have them, are accepted.
    pub fn parse(source: &str) -> Result<Self, Error> {
        let bare = source.trim().trim_start_matches('{').trim_end_matches('}');
        let bare = bare.strip_prefix('$').unwrap_or(bare);
        parse_steps(bare).map(|steps| Self { steps })
    }

    /// All values at the path.
    pub fn find<'object>(&self, object: &'object Value) -> Vec<&'object Value> {
        find(&self.steps, object)
    }

    /// The first value at the path.
    pub fn first<'object>(&self, object: &'object Value) -> Option<&'object Value> {
        self.find(object).into_iter().next()
    }
}

fn find<'object>(steps: &[Step], object: &'object Value) -> Vec<&'object Value> {
    let mut found = vec![object];
    for step in steps {
        found = found
            .into_iter()
            .flat_map(|value| take_step(step, value))
            .collect();
    }
    found
}

fn take_step<'object>(step: &Step, value: &'object Value) -> Vec<&'object Value> {
    let members = |value: &'object Value| -> Vec<&'object Value> {
        match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        }
    };
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            let Some(items) = value.as_array() else {
                return Vec::new();
            };
            let index = if *index < 0 {
                items.len() as i64 + index
            } else {
                *index
            };
            usize::try_from(index)
                .ok()
                .and_then(|index| items.get(index))
                .into_iter()
                .collect()
        }
        Step::All => members(value),
        Step::Filter {
            path,
            comparison,
            constant,
        } => members(value)
            .into_iter()
            .filter(|member| {
                find(path, member)
                    .first()
                    .is_some_and(|found| comparison.holds(found, constant))
            })
            .collect(),
        Step::Exists(path) => members(value)
            .into_iter()
            .filter(|member| !find(path, member).is_empty())
            .collect(),
    }
}

impl Comparison {
    /// Longer operators first, so that `<=` is not read as `<`.
    const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn holds(self, left: &Value, right: &Value) -> bool {
        let ordering = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            _ => None,
        };
        match self {
            Self::Equal => ordering.map_or(left == right, |ordering| ordering.is_eq()),
            Self::NotEqual => ordering.map_or(left != right, |ordering| ordering.is_ne()),
            Self::Less => ordering.is_some_and(|ordering| ordering.is_lt()),
            Self::LessOrEqual => ordering.is_some_and(|ordering| ordering.is_le()),
            Self::Greater => ordering.is_some_and(|ordering| ordering.is_gt()),
            Self::GreaterOrEqual => ordering.is_some_and(|ordering| ordering.is_ge()),
        }
    }
}

fn parse_steps(source: &str) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        match first {
            '.' => {
                let (name, after) = take_name(&rest[1..]);
                // A lone dot before a bracket, as in `.['a']`, or at the end, as in `.`, names nothing.
                match (name.as_str(), after.is_empty() || after.starts_with('[')) {
                    ("", true) => {}
                    ("", false) => return Err(Error::EmptyName(rest.to_owned())),
                    ("*", _) => steps.push(Step::All),
                    (name, _) => steps.push(Step::Field(name.to_owned())),
                }
                rest = after;
            }
            '[' => {
                let end = closing_bracket(rest).ok_or_else(|| Error::Unterminated(rest.to_owned()))?;
                steps.push(parse_bracket(rest[1..end].trim())?);
                rest = &rest[end + 1..];
            }
            _ => return Err(Error::Start(rest.to_owned())),
        }
    }
    Ok(steps)
}

/// The name at the start of `source`, with escapes resolved, and what follows it.
fn take_name(source: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = source.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &source[at..]),
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket that opens `source` closes, quotes and inner brackets aside.
fn closing_bracket(source: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    for (at, c) in source.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

fn parse_bracket(inside: &str) -> Result<Step, Error> {
    if inside == "*" {
        return Ok(Step::All);
    }
    if let Some(filter) = inside
        .strip_prefix("?(")
        .and_then(|filter| filter.strip_suffix(')'))
    {
        return parse_filter(filter.trim());
    }
    if let Some(name) = unquote(inside) {
        return Ok(Step::Field(name));
    }
    inside
        .parse()
        .map(Step::Index)
        .map_err(|_| Error::Bracket(inside.to_owned()))
}

fn parse_filter(filter: &str) -> Result<Step, Error> {
    let refuse = || Error::Filter(filter.to_owned());
    let path = filter.strip_prefix('@').ok_or_else(refuse)?;
    let operator = Comparison::ALL
        .iter()
        .filter_map(|(sign, comparison)| Some((path.find(sign)?, sign, *comparison)))
        .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())));
    let Some((at, sign, comparison)) = operator else {
        return parse_steps(path.trim()).map(Step::Exists);
    };
    let constant = path[at + sign.len()..].trim();
    let constant = match unquote(constant) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(constant).map_err(|_| refuse())?,
    };
    Ok(Step::Filter {
        path: parse_steps(path[..at].trim())?,
        comparison,
        constant,
    })
}

fn unquote(source: &str) -> Option<String> {
    let inner = |quote: char| source.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'')
        .or_else(|| inner('"'))
        .map(|text| text.replace("\\'", "'").replace("\\.", "."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::JsonPath;

    #[test]
    fn paths_of_printer_columns_find_their_values() {
        let object = json!({
            "metadata": {"annotations": {"example.com/a": "x"}, "name": "w"},
            "spec": {"list": [{"n": 1, "s": "one"}, {"n": 2, "s": "two"}]},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let cases = [
            (".metadata.name", json!(["w"])),
            ("{.metadata.name}", json!(["w"])),
            (".metadata.annotations.example\\.com/a", json!(["x"])),
            (".metadata.annotations['example.com/a']", json!(["x"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type == 'Gone')].status", json!([])),
            (".spec.list[0].s", json!(["one"])),
            (".spec.list[-1].s", json!(["two"])),
            (".spec.list[*].n", json!([1, 2])),
            (".spec.list[?(@.n>=2)].s", json!(["two"])),
            (".spec.list[?(@.missing)].s", json!([])),
            (".spec.absent.deeper", json!([])),
        ];
        for (path, expected) in cases {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(json!(parsed.find(&object)), expected, "{path}");
        }
    }

    #[test]
    fn a_broken_path_says_what_is_wrong() {
        for (path, words) in [
            ("spec.size", "starts with"),
            (".a..b", "name is missing"),
            (".a[0", "unterminated"),
            (".a[b]", "unrecognized [b]"),
            (".a[?(b==1)]", "unrecognized filter"),
        ] {
            let error = JsonPath::parse(path).unwrap_err().to_string();
            assert!(error.contains(words), "{path}: {error}");
        }
    }
}
