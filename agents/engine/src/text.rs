//! Text and tokens: the model's own vocabulary and chat template. It runs in the agent, beside the worker.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or what the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A model's vocabulary and chat template. Cheap to share behind an `Arc`; all methods may run at once.
#[derive(Debug)]
pub struct Text {}

impl Text {
    /// Loads the vocabulary and the chat template of the GGUF file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Gguf`], [`Error::Load`].
    pub fn load(path: &Path) -> Result<Self> {
        Err(Error::gguf(path, "cannot be read yet"))
    }

    /// Renders a chat with the file's own template. `open_assistant_turn` adds what makes the model answer.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] when there is no template or it refuses the messages.
    pub fn render_chat(&self, messages: &[Message], open_assistant_turn: bool) -> Result<String> {
        let _ = (messages, open_assistant_turn);
        Err(Error::Text {
            reason: "no template".into(),
        })
    }

    /// Tokens of `text`. With `special`, control tokens written in the text (`<|im_start|>`) are recognised: for
    /// rendered chats, not for what a user wrote into a completion. A beginning-of-sequence token is added where the
    /// model wants one and the text does not begin with it.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] when the text is too long.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let _ = (text, special);
        Err(Error::Text {
            reason: "no vocabulary".into(),
        })
    }

    /// Whether the token ends the model's turn.
    #[must_use]
    pub fn is_end_of_generation(&self, token: u32) -> bool {
        let _ = token;
        false
    }

    /// Begins to turn one answer's tokens into text. Generation ends where one of `stop` appears.
    #[must_use]
    pub fn stream(&self, stop: Vec<String>) -> TextStream<'_> {
        let _ = stop;
        TextStream { text: self }
    }
}

/// Turns an answer's tokens into text, piece by piece: only whole characters come out, and nothing that may still turn
/// out to be the beginning of a stop string.
#[derive(Debug)]
pub struct TextStream<'a> {
    text: &'a Text,
}

impl TextStream<'_> {
    /// Takes the next token; returns the text that is certain now.
    pub fn push(&mut self, token: u32) -> String {
        let _ = (token, self.text);
        String::new()
    }

    /// Whether a stop string has appeared. What follows it is dropped.
    #[must_use]
    pub fn stopped(&self) -> bool {
        false
    }

    /// What was held back, at the end of an answer.
    #[must_use]
    pub fn finish(self) -> String {
        String::new()
    }
}
