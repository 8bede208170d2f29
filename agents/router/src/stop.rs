//! Finds stop sequences in text that arrives in pieces. Pure: it knows neither tokens nor streams.
//!
//! The answer does not depend on where the pieces were cut: the sequence whose last byte comes first wins, and of
//! several that end there the longest, just as if the text had arrived byte by byte.

/// Holds back whatever may turn out to be a stop sequence, so that no part of one is ever emitted.
///
/// One Knuth-Morris-Pratt automaton for each sequence: linear in the text, whatever the sequences are.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    automata: Vec<Automaton>,
    held_back: String,
    matched: bool,
}

/// What became of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Text that may be shown now; may be empty.
    pub text: String,
    /// Whether a stop sequence follows it. Nothing that comes later is shown.
    pub matched: bool,
}

impl StopMatcher {
    /// A matcher for these sequences. Empty ones match nothing.
    #[must_use]
    pub fn new<S: AsRef<str>>(sequences: &[S]) -> Self {
        let automata = sequences
            .iter()
            .map(AsRef::as_ref)
            .filter(|sequence| !sequence.is_empty())
            .map(Automaton::new)
            .collect();
        Self {
            automata,
            held_back: String::new(),
            matched: false,
        }
    }

    /// Takes the next piece and says what may be shown.
    pub fn push(&mut self, piece: String) -> Step {
        if self.matched {
            return Step {
                text: String::new(),
                matched: true,
            };
        }
        if self.automata.is_empty() {
            return Step {
                text: piece,
                matched: false,
            };
        }
        let already_read = self.held_back.len();
        self.held_back.push_str(&piece);
        for position in already_read..self.held_back.len() {
            let byte = self.held_back.as_bytes()[position];
            let longest_match = self
                .automata
                .iter_mut()
                .filter_map(|automaton| automaton.advance(byte))
                .max();
            if let Some(length) = longest_match {
                self.matched = true;
                // A UTF-8 sequence can only match at character boundaries, so this does not cut one.
                self.held_back.truncate(position + 1 - length);
                return Step {
                    text: std::mem::take(&mut self.held_back),
                    matched: true,
                };
            }
        }
        let doubtful = self
            .automata
            .iter()
            .map(|automaton| automaton.matched_bytes)
            .max()
            .unwrap_or(0);
        let rest = self.held_back.split_off(self.held_back.len() - doubtful);
        Step {
            text: std::mem::replace(&mut self.held_back, rest),
            matched: false,
        }
    }

    /// The text has ended: what was held back turned out to be no stop sequence.
    #[must_use]
    pub fn finish(self) -> String {
        self.held_back
    }
}

#[derive(Debug, Clone)]
struct Automaton {
    sequence: Vec<u8>,
    /// For each length of a matched prefix, the length of its longest proper suffix that is a prefix too.
    fallback: Vec<usize>,
    matched_bytes: usize,
}

impl Automaton {
    fn new(sequence: &str) -> Self {
        let sequence = sequence.as_bytes().to_vec();
        let mut fallback = vec![0; sequence.len() + 1];
        let mut border = 0;
        for length in 2..=sequence.len() {
            while border > 0 && sequence[border] != sequence[length - 1] {
                border = fallback[border];
            }
            if sequence[border] == sequence[length - 1] {
                border += 1;
            }
            fallback[length] = border;
        }
        Self {
            sequence,
            fallback,
            matched_bytes: 0,
        }
    }

    /// Reads a byte; the length of the sequence if it ends here.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        while self.matched_bytes > 0 && self.sequence[self.matched_bytes] != byte {
            self.matched_bytes = self.fallback[self.matched_bytes];
        }
        if self.sequence[self.matched_bytes] == byte {
            self.matched_bytes += 1;
        }
        (self.matched_bytes == self.sequence.len()).then_some(self.matched_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(sequences: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut matcher = StopMatcher::new(sequences);
        let mut shown = Vec::new();
        for piece in pieces {
            let step = matcher.push((*piece).to_owned());
            shown.push(step.text);
            if step.matched {
                return (shown, true);
            }
        }
        shown.push(matcher.finish());
        (shown, false)
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn text_without_stop_sequences_passes_at_once() {
        assert_eq!(run(&[], &["one ", "two"]), (strings(&["one ", "two", ""]), false));
    }

    #[test]
    fn a_sequence_across_pieces_is_never_shown() {
        assert_eq!(
            run(&["\nUser:"], &["yes\n", "Us", "er: hi"]),
            (strings(&["yes", "", ""]), true)
        );
    }

    #[test]
    fn a_false_start_is_shown_once_it_is_decided() {
        assert_eq!(
            run(&["###"], &["a#", "#b", "#"]),
            (strings(&["a", "##b", "", "#"]), false)
        );
    }

    #[test]
    fn a_match_may_begin_within_a_false_start() {
        assert_eq!(run(&["aab"], &["aa", "ab"]), (strings(&["", "a"]), true));
    }

    #[test]
    fn the_sequence_that_ends_first_wins_and_the_longest_of_those() {
        assert_eq!(run(&["abcd", "bc"], &["xabcd"]), (strings(&["xa"]), true));
        assert_eq!(run(&["c", "abc"], &["xabcd"]), (strings(&["x"]), true));
    }

    #[test]
    fn characters_of_several_bytes_are_never_cut() {
        assert_eq!(
            run(&["é!"], &["caf", "é", "?"]),
            (strings(&["caf", "", "é?", ""]), false)
        );
        // These two share their first byte.
        assert_eq!(run(&["è"], &["é", "è"]), (strings(&["é", ""]), true));
    }

    /// An independent judge: looks at every prefix of the whole text.
    fn cut_slowly(sequences: &[String], text: &str) -> (String, bool) {
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let longest = sequences
                .iter()
                .filter(|sequence| text[..end].ends_with(*sequence))
                .map(String::len)
                .max();
            if let Some(length) = longest {
                return (text[..end - length].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_the_pieces(
            sequences in prop::collection::vec("[abé]{1,4}", 0..4),
            pieces in prop::collection::vec("[abcé]{0,5}", 0..12),
        ) {
            let (expected, expected_match) = cut_slowly(&sequences, &pieces.concat());
            let names: Vec<&str> = sequences.iter().map(String::as_str).collect();
            let (shown, matched) = run(&names, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!((shown.concat(), matched), (expected, expected_match));
        }

        #[test]
        fn no_more_is_held_back_than_may_still_become_a_match(
            sequences in prop::collection::vec("[ab]{1,5}", 1..4),
            text in "[abc]{0,20}",
        ) {
            let mut matcher = StopMatcher::new(&sequences);
            let step = matcher.push(text.clone());
            if !step.matched {
                let held = &text[step.text.len()..];
                prop_assert!(held.is_empty() || sequences.iter().any(|sequence| sequence.starts_with(held)));
            }
        }
    }
}
