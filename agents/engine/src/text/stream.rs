//! Bytes of tokens to text, piece by piece. Pure.

/// Turns an answer's tokens into text: only whole characters come out, and nothing that may still turn out to be the
/// beginning of a stop string.
#[derive(Debug)]
pub struct TextStream {
    stop: Vec<String>,
    /// The beginning of a character whose other bytes have not come yet.
    bytes: Vec<u8>,
    /// Whole characters that may begin a stop string.
    held: String,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends where one of `stop` appears. Empty strings stop nothing.
    #[must_use]
    pub fn new(stop: Vec<String>) -> Self {
        let stop = stop.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self {
            stop,
            bytes: Vec::new(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes the bytes of the next token ([`super::Text::bytes_of`]); returns the text that is certain now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.bytes.extend_from_slice(bytes);
        self.decode(false);
        if let Some(at) = self
            .stop
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min()
        {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let certain = self.held.len() - self.uncertain_bytes();
        self.held.drain(..certain).collect()
    }

    /// Whether a stop string has appeared. What follows it is dropped.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, at the end of an answer.
    #[must_use]
    pub fn finish(mut self) -> String {
        if !self.stopped {
            self.decode(true);
        }
        self.held
    }

    /// Moves whole characters from `bytes` to `held`; bytes that cannot become a character are replaced. At the end
    /// nothing is waited for.
    fn decode(&mut self, end: bool) {
        let mut waiting = 0;
        let mut chunks = self.bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.held.push_str(chunk.valid());
            if chunk.invalid().is_empty() {
                continue;
            }
            // Only at the end can more bytes still make a character of it.
            if chunks.peek().is_none() && !end && is_incomplete(chunk.invalid()) {
                waiting = chunk.invalid().len();
            } else {
                self.held.push(char::REPLACEMENT_CHARACTER);
            }
        }
        let done = self.bytes.len() - waiting;
        self.bytes.drain(..done);
    }

    /// Length of the longest end of `held` that begins a stop string.
    fn uncertain_bytes(&self) -> usize {
        let begins_a_stop =
            |&start: &usize| self.stop.iter().any(|stop| stop.starts_with(&self.held[start..]));
        let starts = self.held.char_indices().map(|(start, _)| start);
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0);
        let start = starts
            .filter(|start| self.held.len() - start < longest)
            .find(begins_a_stop);
        start.map_or(0, |start| self.held.len() - start)
    }
}

/// Whether more bytes may complete the character that these begin.
fn is_incomplete(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stop: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool, String) {
        let mut stream = TextStream::new(stop.iter().map(ToString::to_string).collect());
        let texts = pieces.iter().map(|piece| stream.push(piece)).collect();
        (texts, stream.stopped(), stream.finish())
    }

    #[test]
    fn a_character_comes_out_when_it_is_whole() {
        let smile = "🙂".as_bytes();
        let (texts, _, rest) = run(&[], &[b"a", &smile[..1], &smile[1..3], &smile[3..], b"b"]);
        assert_eq!(texts, ["a", "", "", "🙂", "b"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_and_do_not_block() {
        let (texts, _, rest) = run(&[], &[b"\xff", b"a\xe2\x82", b"b", b"\xe2"]);
        assert_eq!(texts, ["\u{fffd}", "a", "\u{fffd}b", ""]);
        assert_eq!(rest, "\u{fffd}");
    }

    #[test]
    fn a_stop_string_across_tokens_never_shows_even_in_part() {
        let (texts, stopped, rest) = run(&["END"], &[b"one E", b"N", b"D two", b"three"]);
        assert_eq!(
            (texts, stopped, rest.as_str()),
            (
                vec!["one ".into(), String::new(), String::new(), String::new()],
                true,
                ""
            )
        );
    }

    #[test]
    fn what_only_looked_like_a_stop_string_comes_out() {
        let (texts, stopped, rest) = run(&["END"], &[b"E", b"NE", b"N"]);
        assert_eq!(texts, ["", "EN", ""]);
        assert!(!stopped);
        assert_eq!(rest, "EN");
    }

    #[test]
    fn the_earliest_of_several_stop_strings_counts() {
        let (texts, stopped, _) = run(&["two", "one"], &["zero one two".as_bytes()]);
        assert_eq!((texts, stopped), (vec!["zero ".to_owned()], true));
    }

    #[test]
    fn an_empty_stop_string_stops_nothing() {
        let (texts, stopped, _) = run(&[""], &[b"text"]);
        assert_eq!((texts, stopped), (vec!["text".to_owned()], false));
    }

    #[test]
    fn stop_strings_may_hold_characters_of_several_bytes() {
        let (texts, stopped, _) = run(&["öß"], &["aö".as_bytes(), "ö".as_bytes(), "ßb".as_bytes()]);
        assert_eq!(
            (texts, stopped),
            (vec!["a".to_owned(), "ö".to_owned(), String::new()], true)
        );
    }
}
