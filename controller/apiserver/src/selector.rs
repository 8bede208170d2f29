//! Label and field selectors: parsed once, matched against many objects.

mod parse;

use serde_json::Value;

use crate::kinds::Resource;
use crate::objects;
use crate::status::Status;

/// A label selector and a field selector; both have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<LabelRequirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelRequirement {
    key: String,
    condition: LabelCondition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelCondition {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: String,
    equal: bool,
    value: String,
}

impl Selector {
    /// Parses both selectors; an empty text selects everything. Fields have to be known to the resource.
    ///
    /// # Errors
    /// 400 with the place that is not understood.
    pub fn parse(labels: &str, fields: &str, resource: &Resource) -> Result<Self, Status> {
        let labels = parse::labels(labels).map_err(Status::bad_request)?;
        let fields = parse_fields(fields).map_err(Status::bad_request)?;
        for requirement in &fields {
            if resource.field_value(&Value::Null, &requirement.field).is_none() {
                // Kinds without fields of their own say so in other words, as upstream.
                let plain = !resource.is_custom() && resource.selectable_fields.is_empty();
                let why = if plain {
                    let known = r#"only "metadata.name", "metadata.namespace""#;
                    format!("{:?} is not a known field selector: {known}", requirement.field)
                } else {
                    format!("field label not supported: {}", requirement.field)
                };
                return Err(Status::bad_request(why));
            }
        }
        Ok(Self { labels, fields })
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Restricts to the object of this name.
    pub fn and_name(mut self, name: &str) -> Self {
        self.fields.push(FieldRequirement {
            field: "metadata.name".into(),
            equal: true,
            value: name.into(),
        });
        self
    }

    /// The one name that can match, if a requirement says so.
    pub fn only_name(&self) -> Option<&str> {
        let by_name = |one: &&FieldRequirement| one.equal && one.field == "metadata.name";
        self.fields.iter().find(by_name).map(|one| one.value.as_str())
    }

    /// Whether name, namespace and labels are all that it looks at.
    pub fn reads_only_metadata(&self) -> bool {
        let of_metadata = |one: &FieldRequirement| one.field.starts_with("metadata.");
        self.fields.iter().all(of_metadata)
    }

    /// Whether an object in the wire form is selected.
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.labels.iter().all(|one| one.matches(object))
            && self.fields.iter().all(|one| {
                let value = resource.field_value(object, &one.field).unwrap_or_default();
                (value == one.value) == one.equal
            })
    }
}

/// A label selector as objects have it: `matchLabels` and `matchExpressions`. An empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<LabelRequirement>);

impl LabelSelector {
    /// The selector of a JSON object; `None` when it has an operator that is not known.
    pub fn of_object(selector: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut requirements: Vec<LabelRequirement> = labels
            .map(|(key, value)| LabelRequirement {
                key: key.clone(),
                condition: LabelCondition::In(vec![text(value)]),
            })
            .collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.map(text).collect();
            let condition = match expression["operator"].as_str()? {
                "In" => LabelCondition::In(values),
                "NotIn" => LabelCondition::NotIn(values),
                "Exists" => LabelCondition::Exists,
                "DoesNotExist" => LabelCondition::Absent,
                _ => return None,
            };
            requirements.push(LabelRequirement {
                key: text(&expression["key"]),
                condition,
            });
        }
        Some(Self(requirements))
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|one| one.matches(object))
    }
}

impl LabelRequirement {
    fn matches(&self, object: &Value) -> bool {
        let value = objects::label(object, &self.key);
        match &self.condition {
            LabelCondition::Exists => value.is_some(),
            LabelCondition::Absent => value.is_none(),
            LabelCondition::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            LabelCondition::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            LabelCondition::Above(limit) => number(value).is_some_and(|number| number > *limit),
            LabelCondition::Below(limit) => number(value).is_some_and(|number| number < *limit),
        }
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

/// `a=b,c==d,e!=f`, with `\,`, `\=` and `\\` for themselves.
fn parse_fields(text: &str) -> Result<Vec<FieldRequirement>, String> {
    let mut requirements = Vec::new();
    for term in split_unescaped(text) {
        if term.is_empty() {
            continue;
        }
        let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
            (field, false, value)
        } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (field, true, value)
        } else {
            return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
        };
        requirements.push(FieldRequirement {
            field: field.to_owned(),
            equal,
            value: unescaped(value),
        });
    }
    Ok(requirements)
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut escaped, mut start, mut terms) = (false, 0, Vec::new());
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' {
            characters.next()
        } else {
            Some(character)
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels_match(selector: &str, labels: Value) -> bool {
        let object = json!({"metadata": {"labels": labels}});
        parse::labels(selector)
            .expect("it is a selector")
            .iter()
            .all(|one| one.matches(&object))
    }

    #[test]
    fn label_requirements_match_as_in_kubernetes() {
        for (selector, expected) in [
            ("", true),
            ("a=1", true),
            ("a==1", true),
            ("a=2", false),
            ("a!=2", true),
            ("a!=1", false),
            ("c!=1", true),
            ("a", true),
            ("c", false),
            ("!c", true),
            ("!a", false),
            ("a in (1, 2)", true),
            ("a in (3)", false),
            ("a notin (3)", true),
            ("c notin (3)", true),
            ("a=1,b=x.y", false),
            ("a=1,b=2", true),
            ("a in (1),b in (2)", true),
            ("b=", false),
            ("a>0,b<3", true),
            ("a>1", false),
            ("c<9", false),
        ] {
            assert_eq!(
                labels_match(selector, json!({"a": "1", "b": "2"})),
                expected,
                "{selector}"
            );
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for selector in ["=a", "a in 1", "a in (1", "a,,b", "a of (1)", "a b"] {
            assert!(parse::labels(selector).is_err(), "{selector}");
        }
        assert!(parse_fields("metadata.name").is_err());
    }

    #[test]
    fn field_values_may_be_escaped() {
        let requirements = parse_fields(r"a=x\,y,b!=c\=d").expect("it is a selector");
        assert_eq!(requirements[0].value, "x,y");
        assert_eq!(
            (requirements[1].value.as_str(), requirements[1].equal),
            ("c=d", false)
        );
    }
}
