//! Runs of `!` and `-` in front of an operand. The grammar allows any number of them, and two of a kind undo each other; the parser of
//! the `cel` crate reads an even run as a single sign, and walks its operand twice, so that runs inside of runs take for ever. Here pairs
//! are taken away before it reads them. Pure.

/// The expression with spaces in place of signs that undo each other; everything else stays where it is.
pub(super) fn without_pairs(source: &str) -> String {
    let mut scan = Scan {
        source: source.as_bytes(),
        at: 0,
        after_operand: false,
        run: Vec::new(),
        blank: Vec::new(),
    };
    scan.all();
    let mut bytes = source.as_bytes().to_vec();
    for place in scan.blank {
        bytes[place] = b' ';
    }
    String::from_utf8(bytes).unwrap_or_else(|_| source.to_owned())
}

struct Scan<'source> {
    source: &'source [u8],
    at: usize,
    /// Whether an operand has just ended: then a `-` subtracts.
    after_operand: bool,
    /// Where the signs of the present run stand; all are the same.
    run: Vec<usize>,
    blank: Vec<usize>,
}

impl Scan<'_> {
    fn all(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0c => self.at += 1,
                b'/' if self.peek(1) == Some(b'/') => self.skip_while(|byte| byte != b'\n'),
                b'!' if self.peek(1) != Some(b'=') => self.sign(byte),
                b'-' if !(self.after_operand && self.run.is_empty()) => self.sign(byte),
                _ => {
                    self.end_run();
                    self.token(byte);
                }
            }
        }
        self.end_run();
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at + ahead).copied()
    }

    fn skip_while(&mut self, holds: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&holds) {
            self.at += 1;
        }
    }

    fn sign(&mut self, byte: u8) {
        if self.run.last().is_some_and(|last| self.source[*last] != byte) {
            self.end_run();
        }
        self.run.push(self.at);
        self.after_operand = false;
        self.at += 1;
    }

    /// Of a run, the last sign is left if their number is odd.
    fn end_run(&mut self) {
        let left = self.run.len() % 2;
        let pairs = self.run.len() - left;
        self.blank.extend(self.run.drain(..).take(pairs));
    }

    fn token(&mut self, byte: u8) {
        match byte {
            b'"' | b'\'' => self.text(byte, false),
            b'`' => {
                self.at += 1;
                self.skip_while(|byte| byte != b'`');
                self.at += 1;
                self.after_operand = true;
            }
            b'0'..=b'9' => self.number(),
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => self.word(),
            _ => {
                self.after_operand = matches!(byte, b')' | b']' | b'}');
                self.at += 1;
            }
        }
    }

    fn word(&mut self) {
        let begin = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let word = self.source[begin..self.at].to_ascii_lowercase();
        match self.peek(0) {
            Some(quote @ (b'"' | b'\'')) if matches!(word.as_slice(), b"r" | b"b" | b"rb" | b"br") => {
                self.text(quote, word.contains(&b'r'));
            }
            _ => self.after_operand = &self.source[begin..self.at] != b"in",
        }
    }

    fn number(&mut self) {
        let begin = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        let number = &self.source[begin..self.at];
        let is_hexadecimal = number.starts_with(b"0x") || number.starts_with(b"0X");
        if !is_hexadecimal && matches!(number.last(), Some(b'e' | b'E')) {
            // The sign of an exponent.
            self.at += usize::from(matches!(self.peek(0), Some(b'+' | b'-')));
            self.skip_while(|byte| byte.is_ascii_digit());
        }
        self.after_operand = true;
    }

    /// A text in one or three quotes; a raw one has no escapes.
    fn text(&mut self, quote: u8, is_raw: bool) {
        let three = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let quotes = if three { 3 } else { 1 };
        self.at += quotes;
        while let Some(byte) = self.peek(0) {
            if byte == b'\\' && !is_raw {
                self.at += 2;
            } else if (0..quotes).all(|ahead| self.peek(ahead) == Some(quote)) {
                self.at += quotes;
                break;
            } else {
                self.at += 1;
            }
        }
        self.at = self.at.min(self.source.len());
        self.after_operand = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{compile, with_functions};
    use super::*;
    use kube_cel::cel::Value;

    #[test]
    fn two_signs_undo_each_other() {
        let cases = [
            ("!!true", true),
            ("!!!true", false),
            ("! // a comment !\n ! true", true),
            ("--1 == 1", true),
            ("---1 == -1", true),
            ("1--1 == 2", true),
            ("1 - -1 == 2 && (3)- -(1) == 4", true),
            ("1---1 == 0", true),
            ("[2][0]--1 == 3", true),
            ("1 != 2 && !!(1 != 2)", true),
            ("-1 in [--1, -  -  -1]", true),
            ("1e-1 < 1.0 && 0xe-1 == 13", true),
            ("'!!' + \"--\" == '!!--'", true),
            ("r'!!' + '--' == '!!--'", true),
        ];
        for (source, expected) in cases {
            let compiled = compile(source, None).unwrap_or_else(|why| panic!("{source}: {why}"));
            let mut budget = 1_000_000;
            let value = with_functions(|functions| compiled.metered.resolve(functions, &mut budget));
            assert_eq!(value, Ok(Value::Bool(expected)), "{source}");
        }
    }

    #[test]
    fn runs_inside_of_runs_are_read() {
        let source = format!("{}true{}", "!!(".repeat(40), ")".repeat(40));
        assert!(compile(&source, None).is_ok());
        assert_eq!(without_pairs("!!! a"), "  ! a");
        assert_eq!(without_pairs("'unended !!"), "'unended !!");
        assert_eq!(without_pairs("'''!! ' --''' + !!a"), "'''!! ' --''' +   a");
        assert_eq!(without_pairs(r"r'\' + !!a + '\'!!'"), r"r'\' +   a + '\'!!'");
    }
}
