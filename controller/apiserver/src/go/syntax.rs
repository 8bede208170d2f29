//! What Go's `encoding/json` says of a text that is no JSON.

/// What may come next.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Value,
    /// A value, or the end of an empty list.
    FirstItem,
    /// A key, or the end of an empty object.
    FirstKey,
    Key,
    AfterValue,
    InText,
    Escape,
    /// So many digits of `\uXXXX`.
    Hexadecimal(u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// The rest of `true`, `false` or `null`, from this place on.
    Word(&'static str, usize),
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Key,
    Field,
    List,
}

/// The error, or `None` for a text that is JSON. Takes no longer than the text is long, and no stack.
pub fn error(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner {
        expected: Expected::Value,
        open: Vec::new(),
    };
    for byte in text {
        if let Err(place) = scanner.step(*byte) {
            return Some(format!("invalid character {} {place}", quoted(*byte)));
        }
    }
    // A number ends where the text ends.
    let ended = scanner.step(b' ').is_ok() && matches!(scanner.expected, Expected::AfterValue);
    (!ended || !scanner.open.is_empty()).then(|| "unexpected end of JSON input".to_owned())
}

struct Scanner {
    expected: Expected,
    open: Vec<Open>,
}

type Step = Result<(), String>;

impl Scanner {
    fn step(&mut self, byte: u8) -> Step {
        use Expected::{
            AfterValue, Digits, Escape, Exponent, ExponentDigits, ExponentSign, FirstItem, FirstKey,
            Fraction, Hexadecimal, InText, Key, Minus, Point, Value, Word, Zero,
        };
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.expected = match (self.expected, byte) {
            (Value | FirstItem | FirstKey | Key | AfterValue, _) if blank => return Ok(()),
            (FirstItem, b']') => {
                self.open.pop();
                AfterValue
            }
            (FirstKey, b'}') => {
                self.open.pop();
                AfterValue
            }
            (Value | FirstItem, _) => return self.value(byte),
            (FirstKey | Key, b'"') => InText,
            (FirstKey | Key, _) => return Err("looking for beginning of object key string".into()),
            (AfterValue, _) => return self.after_value(byte),
            (InText, b'"') => AfterValue,
            (InText, b'\\') => Escape,
            (InText, 0..0x20) => return Err("in string literal".into()),
            (InText, _) => InText,
            (Escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => InText,
            (Escape, b'u') => Hexadecimal(4),
            (Escape, _) => return Err("in string escape code".into()),
            (Hexadecimal(left), _) if byte.is_ascii_hexdigit() => {
                if left == 1 {
                    InText
                } else {
                    Hexadecimal(left - 1)
                }
            }
            (Hexadecimal(_), _) => return Err("in \\u hexadecimal character escape".into()),
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Digits, b'0'..=b'9') => Digits,
            (Minus, _) => return Err("in numeric literal".into()),
            (Zero | Digits, b'.') => Point,
            (Zero | Digits | Fraction, b'e' | b'E') => Exponent,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Point, _) => return Err("after decimal point in numeric literal".into()),
            (Exponent, b'+' | b'-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => ExponentDigits,
            (Exponent | ExponentSign, _) => return Err("in exponent of numeric literal".into()),
            (Zero | Digits | Fraction | ExponentDigits, _) => {
                self.expected = AfterValue;
                return self.step(byte);
            }
            (Word(word, place), _) => return self.word(word, place, byte),
        };
        Ok(())
    }

    fn value(&mut self, byte: u8) -> Step {
        self.expected = match byte {
            b'{' => {
                self.open.push(Open::Key);
                Expected::FirstKey
            }
            b'[' => {
                self.open.push(Open::List);
                Expected::FirstItem
            }
            b'"' => Expected::InText,
            b'-' => Expected::Minus,
            b'0' => Expected::Zero,
            b'1'..=b'9' => Expected::Digits,
            b't' => Expected::Word("true", 1),
            b'f' => Expected::Word("false", 1),
            b'n' => Expected::Word("null", 1),
            _ => return Err("looking for beginning of value".into()),
        };
        Ok(())
    }

    fn word(&mut self, word: &'static str, place: usize, byte: u8) -> Step {
        let wanted = word.as_bytes()[place];
        if byte != wanted {
            let wanted = char::from(wanted);
            return Err(format!("in literal {word} (expecting '{wanted}')"));
        }
        self.expected = if place + 1 == word.len() {
            Expected::AfterValue
        } else {
            Expected::Word(word, place + 1)
        };
        Ok(())
    }

    fn after_value(&mut self, byte: u8) -> Step {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(());
        }
        self.expected = match (self.open.last_mut(), byte) {
            (None, _) => return Err("after top-level value".into()),
            (Some(open @ Open::Key), b':') => {
                *open = Open::Field;
                Expected::Value
            }
            (Some(Open::Key), _) => return Err("after object key".into()),
            (Some(open @ Open::Field), b',') => {
                *open = Open::Key;
                Expected::Key
            }
            (Some(Open::List), b',') => Expected::Value,
            (Some(Open::Field), b'}') | (Some(Open::List), b']') => {
                self.open.pop();
                Expected::AfterValue
            }
            (Some(Open::Field), _) => return Err("after object key:value pair".into()),
            (Some(Open::List), _) => return Err("after array element".into()),
        };
        Ok(())
    }
}

/// A byte as Go quotes it: as the character of that number.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0x07 => "'\\a'".to_owned(),
        0x08 => "'\\b'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        other => format!("'{}'", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_go() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("[1", "unexpected end of JSON input"),
            ("\"a", "unexpected end of JSON input"),
            (
                r#"{"a":}"#,
                "invalid character '}' looking for beginning of value",
            ),
            (
                "{a}",
                "invalid character 'a' looking for beginning of object key string",
            ),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (
                r#"{"a":"b" "c"}"#,
                "invalid character '\"' after object key:value pair",
            ),
            (
                r#"{"a":1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            (
                r#"{"a":tru}"#,
                "invalid character '}' in literal true (expecting 'e')",
            ),
            (
                r#"{"a":1.e}"#,
                "invalid character 'e' after decimal point in numeric literal",
            ),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (
                r#""\u00g0""#,
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\u{9e}", "invalid character 'Â' looking for beginning of value"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            error(&[0x9e]).as_deref(),
            Some("invalid character '\\u009e' looking for beginning of value")
        );
        for text in [
            "1",
            " -0.5e+3 ",
            "null",
            "[]",
            "{}",
            r#"{"a":[1,{"b":"\u00e9"}],"c":true}"#,
        ] {
            assert_eq!(error(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn deep_texts_take_no_stack() {
        let deep = vec![b'['; 1_000_000];
        assert_eq!(error(&deep).as_deref(), Some("unexpected end of JSON input"));
    }
}
