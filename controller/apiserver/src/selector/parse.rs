//! The text of a label selector, such as `a=b,c!=d,e in (f,g),h notin (i),j,!k`, read by upstream's grammar and with its words.

use super::{LabelCondition, LabelRequirement};
use crate::schema::metadata;

/// A word or sign of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, or `in` and `notin`, which may be either.
    Word(&'a str),
    Sign(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Word(text) | Self::Sign(text) => text,
            Self::End => "",
        }
    }
}

const SIGNS: &str = "=!(),><";

/// Reads a selector.
///
/// # Errors
/// What was found where something else was expected.
pub(super) fn labels(text: &str) -> Result<Vec<LabelRequirement>, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
    };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Sign("!") => {
                let requirement = parser.requirement();
                requirements.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
                match parser.take() {
                    Token::End => return Ok(requirements),
                    Token::Sign(",") => match parser.peek() {
                        Token::Word(_) | Token::Sign("!") => {}
                        other => return Err(found(other, ", expected: identifier after ','")),
                    },
                    other => return Err(found(other, ", expected: ',' or 'end of string'")),
                }
            }
            Token::End => return Ok(requirements),
            other => return Err(found(other, ", expected: !, identifier, or 'end of string'")),
        }
    }
}

fn found(token: Token<'_>, expected: &str) -> String {
    format!("found '{}'{expected}", token.text())
}

/// The words and signs of a text; `==` and `!=` are one sign.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let is_blank = |one: char| matches!(one, ' ' | '\t' | '\r' | '\n');
    let is_sign = |one: char| SIGNS.contains(one);
    let (mut rest, mut found) = (text.trim_start_matches(is_blank), Vec::new());
    while let Some(first) = rest.chars().next() {
        let length = if is_sign(first) {
            match rest.as_bytes() {
                [b'=' | b'!', b'=', ..] => 2,
                _ => 1,
            }
        } else {
            rest.find(|one| is_blank(one) || is_sign(one))
                .unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        found.push(if is_sign(first) {
            Token::Sign(token)
        } else {
            Token::Word(token)
        });
        rest = after.trim_start_matches(is_blank);
    }
    Ok(found)
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.next).copied().unwrap_or(Token::End)
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<LabelRequirement, String> {
        let is_absent = self.peek() == Token::Sign("!");
        if is_absent {
            self.take();
        }
        let key = match self.take() {
            Token::Word(key) => key,
            other => return Err(found(other, ", expected: identifier")),
        };
        if let Some(cause) = metadata::key_causes("<nil>", key).into_iter().next() {
            return Err(format!("<nil>: {}", cause.message));
        }
        let condition = match self.peek() {
            _ if is_absent => LabelCondition::Absent,
            Token::End | Token::Sign(",") => LabelCondition::Exists,
            _ => self.condition(key)?,
        };
        Ok(LabelRequirement {
            key: key.to_owned(),
            condition,
        })
    }

    fn condition(&mut self, key: &str) -> Result<LabelCondition, String> {
        Ok(match self.take() {
            Token::Sign("=" | "==") => LabelCondition::In(checked(key, vec![self.exact_value()?])?),
            Token::Sign("!=") => LabelCondition::NotIn(checked(key, vec![self.exact_value()?])?),
            Token::Sign(">") => LabelCondition::Above(number(self.exact_value()?)?),
            Token::Sign("<") => LabelCondition::Below(number(self.exact_value()?)?),
            Token::Word("in") => LabelCondition::In(checked(key, self.values()?)?),
            Token::Word("notin") => LabelCondition::NotIn(checked(key, self.values()?)?),
            other => return Err(found(other, ", expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(""),
            Token::Word(value) => {
                self.take();
                Ok(value)
            }
            other => Err(found(other, ", expected: identifier")),
        }
    }

    /// `(a, b)`; nothing between two commas is the empty value.
    fn values(&mut self) -> Result<Vec<&'a str>, String> {
        match self.take() {
            Token::Sign("(") => {}
            other => return Err(found(other, " expected: '('")),
        }
        let mut values = Vec::new();
        match self.peek() {
            Token::Sign(")") => {}
            Token::Word(_) | Token::Sign(",") => self.listed(&mut values)?,
            other => return Err(found(other, ", expected: ',', ')' or identifier")),
        }
        self.take();
        if values.is_empty() {
            // As upstream: no value is the empty one.
            values.push("");
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    /// The values up to the closing parenthesis, which is left.
    fn listed(&mut self, values: &mut Vec<&'a str>) -> Result<(), String> {
        loop {
            match self.take() {
                Token::Word(value) => {
                    values.push(value);
                    match self.peek() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(()),
                        other => return Err(found(other, ", expected: ',' or ')'")),
                    }
                }
                Token::Sign(",") => {
                    if values.is_empty() {
                        values.push("");
                    }
                    match self.peek() {
                        Token::Sign(")") => {
                            values.push("");
                            return Ok(());
                        }
                        Token::Sign(",") => {
                            self.take();
                            values.push("");
                        }
                        _ => {}
                    }
                }
                other => return Err(found(other, ", expected: ',', or identifier")),
            }
        }
    }
}

/// Values that labels can have.
fn checked(key: &str, values: Vec<&str>) -> Result<Vec<String>, String> {
    let causes = values.iter().enumerate().filter_map(|(index, value)| {
        let cause = metadata::label_value_cause(&(*value).into())?;
        Some(format!("values[{index}][{key}]: {}", cause.message))
    });
    match causes.collect::<Vec<_>>().as_slice() {
        [] => Ok(values.into_iter().map(str::to_owned).collect()),
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

fn number(value: &str) -> Result<i64, String> {
    value.parse().map_err(|_| {
        format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
    })
}

#[cfg(test)]
mod tests {
    use super::labels;

    /// What kube-apiserver 1.37 answers to the same texts.
    #[test]
    fn refusals_are_upstreams() {
        const OPERATORS: &str = "expected: in, notin, =, ==, !=, gt, lt";
        for (text, expected) in [
            ("a b", format!("unable to parse requirement: found 'b', {OPERATORS}")),
            ("a!b", format!("unable to parse requirement: found '!', {OPERATORS}")),
            ("a in", "unable to parse requirement: found '' expected: '('".into()),
            ("a in b", "unable to parse requirement: found 'b' expected: '('".into()),
            ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier".into()),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'".into()),
            ("a notin (x,", "unable to parse requirement: found '', expected: ',', or identifier".into()),
            ("!", "unable to parse requirement: found '', expected: identifier".into()),
            ("=b", "found '=', expected: !, identifier, or 'end of string'".into()),
            ("(a)", "found '(', expected: !, identifier, or 'end of string'".into()),
            (",", "found ',', expected: !, identifier, or 'end of string'".into()),
            ("a,,b", "found ',', expected: identifier after ','".into()),
            ("a=b=c", "found '=', expected: ',' or 'end of string'".into()),
            ("!a=b", "found '=', expected: ',' or 'end of string'".into()),
            ("a=b c", "found 'c', expected: ',' or 'end of string'".into()),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer"
                    .into(),
            ),
            (
                "a in (b,@)",
                "unable to parse requirement: values[0][a]: Invalid value: \"@\": a valid label must be an empty string or consist of \
                 alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                    .into(),
            ),
            (
                "-a",
                "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of alphanumeric characters, '-', '_' \
                 or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used \
                 for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
                    .into(),
            ),
        ] {
            assert_eq!(labels(text), Err(expected), "{text}");
        }
        for text in ["", "a==", "a>1", "a in (,)", "in in (in)", "a notin (b,,c)"] {
            assert!(labels(text).is_ok(), "{text}");
        }
    }
}
