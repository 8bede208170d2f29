//! Text and tokens: the model's own vocabulary and chat template. It runs in the agent, beside the worker, so that
//! text can be turned into tokens while a batch computes.
//!
//! The vocabulary is llama.cpp's own, loaded without weights. What could make llama.cpp abort the agent is ruled out
//! beforehand: the file's vocabulary is checked ([`check`]), texts have a bound, and long ones are split on a thread
//! with a stack for the deepest recursion of its regular expressions.

mod chat;
mod check;
mod stream;

use std::{io, path::Path, thread};

pub use chat::Message;
pub use stream::TextStream;

use self::chat::Template;
use crate::{
    Error, Result,
    gguf::{Gguf, Value},
    llama::Vocabulary,
};

/// The longest text that is tokenized: far above any context, far below what the stack is measured for.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Up to here a text is tokenized on the caller's stack.
const TEXT_BYTES_INLINE: usize = 1 << 10;
/// libstdc++ matches a regular expression by recursion, one level for each character of a match. Untouched pages of a
/// stack cost nothing. A test tokenizes the longest text with the deepest expressions.
const STACK_BYTES: usize = 1 << 30;

/// A model's vocabulary and chat template. Cheap to share behind an `Arc`; all methods may run at once.
pub struct Text {
    vocabulary: Vocabulary,
    template: Option<Template>,
    context_length: u32,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Text")
            .field("tokens", &self.vocabulary.length())
            .finish_non_exhaustive()
    }
}

impl Text {
    /// Loads the vocabulary and the chat template of the GGUF file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Gguf`] when the file has no vocabulary that can be used, [`Error::Load`] in llama.cpp's words,
    /// [`Error::Text`] when the chat template is not a template.
    pub fn load(path: &Path) -> Result<Self> {
        let file = Gguf::read(path)?;
        check::vocabulary(&file)?;
        let vocabulary = Vocabulary::load(path)?;
        let piece = |token: Option<u32>| {
            token
                .map(|token| String::from_utf8_lossy(&vocabulary.piece(token, true)).into_owned())
                .unwrap_or_default()
        };
        let begin = piece(vocabulary.begin_of_sequence());
        let end = piece(vocabulary.end_of_sequence());
        let source = file.value("tokenizer.chat_template").and_then(Value::as_text);
        let template = source
            .map(|source| Template::parse(source, begin, end))
            .transpose()?;
        let context_length = file.shape("context_length")?.unwrap_or(0);
        Ok(Self {
            vocabulary,
            template,
            context_length,
        })
    }

    /// Number of tokens in the vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> u32 {
        u32::try_from(self.vocabulary.length()).expect("vocabularies have less than 2^32 tokens")
    }

    /// Positions that the model was trained for.
    #[must_use]
    pub fn context_length(&self) -> u32 {
        self.context_length
    }

    /// Renders a chat with the file's own template. `open_assistant_turn` adds what makes the model answer.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] when there is no template or it refuses the messages, with its words.
    pub fn render_chat(&self, messages: &[Message], open_assistant_turn: bool) -> Result<String> {
        let missing = || Error::Text {
            reason: "the model has no chat template; use /v1/completions".into(),
        };
        self.template
            .as_ref()
            .ok_or_else(missing)?
            .render(messages, open_assistant_turn)
    }

    /// Tokens of `text`. With `special`, control tokens written in the text (`<|im_start|>`) are recognised: for
    /// rendered chats, not for what a user wrote into a completion. A beginning-of-sequence token is added where the
    /// model wants one and the text does not begin with it.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] when the text is too long.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let refused = |reason: String| Error::Text { reason };
        if text.len() > TEXT_BYTES_MAX {
            return Err(refused(format!(
                "the text has {} bytes, at most {TEXT_BYTES_MAX} are taken",
                text.len()
            )));
        }
        let tokenize = || self.vocabulary.tokenize(text, true, special);
        let tokens = if text.len() <= TEXT_BYTES_INLINE {
            tokenize()
        } else {
            on_a_deep_stack(tokenize)
                .map_err(|error| refused(format!("no thread to tokenize on: {error}")))?
        };
        let mut tokens = tokens.ok_or_else(|| refused("the text cannot be tokenized".into()))?;
        // Most chat templates write the token themselves; twice is once too often.
        if let Some(begin) = self.vocabulary.begin_of_sequence()
            && self.vocabulary.adds_begin_of_sequence()
            && tokens.starts_with(&[begin, begin])
        {
            tokens.remove(0);
        }
        Ok(tokens)
    }

    /// Whether the token ends the model's turn.
    #[must_use]
    pub fn is_end_of_generation(&self, token: u32) -> bool {
        self.vocabulary.is_end_of_generation(token)
    }

    /// The bytes that a token adds to an answer: nothing for a control token. They may be a part of a character.
    #[must_use]
    pub fn bytes_of(&self, token: u32) -> Vec<u8> {
        self.vocabulary.piece(token, false)
    }

    /// Begins to turn one answer's tokens into text. Generation ends where one of `stop` appears.
    #[must_use]
    pub fn stream(&self, stop: Vec<String>) -> TextStream {
        TextStream::new(stop)
    }
}

fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)?;
        worker.join().map_err(|_| io::Error::other("tokenizing panicked"))
    })
}
