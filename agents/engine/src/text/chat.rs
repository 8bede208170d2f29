//! Chat templates: the Jinja of a model's own file, in the dialect that its trainers use (Python's string methods,
//! `raise_exception`, blocks that eat their line's white space).

use minijinja::{
    Environment, Error as TemplateError, ErrorKind, State, UndefinedBehavior, Value, context,
    value::ValueKind,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Steps that a template may take. A chat of a thousand messages takes some ten thousand.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat";

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or what the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A template that is ready to render.
pub(super) struct Template {
    environment: Environment<'static>,
    begin_of_sequence: String,
    end_of_sequence: String,
}

impl Template {
    pub(super) fn parse(source: &str, begin_of_sequence: String, end_of_sequence: String) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(python_method);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<Value, TemplateError> {
                Err(TemplateError::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| Error::Text {
                reason: format!("the model's chat template cannot be read: {error}"),
            })?;
        Ok(Self {
            environment,
            begin_of_sequence,
            end_of_sequence,
        })
    }

    pub(super) fn render(&self, messages: &[Message], open_assistant_turn: bool) -> Result<String> {
        let template = self
            .environment
            .get_template(NAME)
            .expect("it was added under this name");
        let values = context! {
            messages => messages,
            add_generation_prompt => open_assistant_turn,
            bos_token => self.begin_of_sequence,
            eos_token => self.end_of_sequence,
        };
        template.render(values).map_err(|error| Error::Text {
            reason: format!("the model's chat template refuses these messages: {error}"),
        })
    }
}

/// Methods that templates call on strings and maps as if they ran in Python.
fn python_method(
    _: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> std::result::Result<Value, TemplateError> {
    let unknown = || TemplateError::new(ErrorKind::UnknownMethod, format!("there is no method {method}"));
    if value.kind() == ValueKind::Map {
        return match (method, arguments) {
            ("get", [key]) => value.get_item(key).map(none_if_undefined),
            ("get", [key, default]) => value.get_item(key).map(|item| {
                if item.is_undefined() {
                    default.clone()
                } else {
                    item
                }
            }),
            ("keys", []) => value.try_iter().map(Value::from_iter),
            ("items", []) => {
                let pairs = value.try_iter()?.map(|key| {
                    let item = value.get_item(&key)?;
                    Ok(Value::from(vec![key, item]))
                });
                pairs
                    .collect::<std::result::Result<Vec<Value>, TemplateError>>()
                    .map(Value::from)
            }
            _ => Err(unknown()),
        };
    }
    let text = value.as_str().ok_or_else(unknown)?;
    let argument = |index: usize| arguments.get(index).and_then(Value::as_str);
    let in_set = |set: &str| {
        let set: Vec<char> = set.chars().collect();
        move |character: char| set.contains(&character)
    };
    Ok(match (method, argument(0), argument(1)) {
        ("strip", None, _) => text.trim().into(),
        ("strip", Some(set), _) => text.trim_matches(in_set(set)).into(),
        ("lstrip", None, _) => text.trim_start().into(),
        ("lstrip", Some(set), _) => text.trim_start_matches(in_set(set)).into(),
        ("rstrip", None, _) => text.trim_end().into(),
        ("rstrip", Some(set), _) => text.trim_end_matches(in_set(set)).into(),
        ("startswith", Some(start), _) => text.starts_with(start).into(),
        ("endswith", Some(end), _) => text.ends_with(end).into(),
        ("split", None, _) => text.split_whitespace().map(Value::from).collect(),
        ("split", Some(separator), _) if !separator.is_empty() => {
            text.split(separator).map(Value::from).collect()
        }
        ("replace", Some(from), Some(to)) => text.replace(from, to).into(),
        ("upper", None, _) => text.to_uppercase().into(),
        ("lower", None, _) => text.to_lowercase().into(),
        _ => return Err(unknown()),
    })
}

fn none_if_undefined(value: Value) -> Value {
    if value.is_undefined() {
        Value::from(())
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[(&str, &str)]) -> Result<String> {
        let message = |&(role, content): &(&str, &str)| Message {
            role: role.into(),
            content: content.into(),
        };
        let messages: Vec<Message> = messages.iter().map(message).collect();
        Template::parse(source, "<s>".into(), "</s>".into())?.render(&messages, true)
    }

    #[test]
    fn blocks_eat_their_lines_white_space_as_in_python() {
        let source = "{% for message in messages %}\n  {% if true %}\n{{ message.content }}\n  {% endif %}\n{% endfor %}\n";
        assert_eq!(render(source, &[("user", "a"), ("user", "b")]).unwrap(), "a\nb\n");
    }

    #[test]
    fn python_methods_and_special_tokens_are_known() {
        let source = "{{ bos_token }}{{ messages[0]['content'].strip() }}|{{ 'a-b'.split('-')[1] }}|\
            {{ messages[0].get('name') is none }}|{{ 'xxy'.lstrip('x') }}{{ eos_token }}";
        assert_eq!(
            render(source, &[("user", "  hi\n")]).unwrap(),
            "<s>hi|b|True|y</s>"
        );
    }

    #[test]
    fn a_template_says_itself_why_it_refuses() {
        let source = "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}";
        let refused = render(source, &[("tool", "")]).unwrap_err().to_string();
        assert!(refused.contains("no tools here"), "{refused}");
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(render(source, &[]).is_err());
    }
}
