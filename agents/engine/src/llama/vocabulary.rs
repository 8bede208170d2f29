//! llama.cpp's own vocabulary: text to tokens, a token to its bytes.

use std::path::Path;

use llama_cpp_sys_2 as sys;

use super::Model;
use crate::Result;

/// A vocabulary without weights.
pub(crate) struct Vocabulary {
    model: Model,
}

impl Vocabulary {
    /// Loads the vocabulary of the GGUF file at `path`. The caller has checked that the file has one: llama.cpp aborts
    /// when a vocabulary of type `none` is used.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        Model::load_vocabulary(path).map(|model| Self { model })
    }

    fn pointer(&self) -> *const sys::llama_vocab {
        // SAFETY: the model is alive and owns its vocabulary.
        unsafe { sys::llama_model_get_vocab(self.model.model.as_ptr()) }
    }

    /// Number of tokens.
    pub(crate) fn length(&self) -> usize {
        self.model.vocabulary_length()
    }

    /// Tokens of `text`, which has less than 2 GiB. With `begin`, a beginning-of-sequence token is added where the
    /// model wants one; with `control`, control tokens written in the text are recognised.
    pub(crate) fn tokenize(&self, text: &str, begin: bool, control: bool) -> Option<Vec<u32>> {
        let length = i32::try_from(text.len()).ok()?;
        // One token for a byte and two around them is the most that any tokenizer makes.
        let mut tokens = vec![0_i32; text.len() + 2];
        let room = i32::try_from(tokens.len()).ok()?;
        // SAFETY: both buffers have the lengths that are given; the vocabulary is not changed by this.
        let count = unsafe {
            sys::llama_tokenize(
                self.pointer(),
                text.as_ptr().cast(),
                length,
                tokens.as_mut_ptr(),
                room,
                begin,
                control,
            )
        };
        tokens.truncate(usize::try_from(count).ok()?);
        tokens
            .into_iter()
            .map(|token| u32::try_from(token).ok())
            .collect()
    }

    /// The bytes that a token stands for; control tokens stand for their name when `control` is set, otherwise for
    /// nothing. `token` is below [`Self::length`].
    pub(crate) fn piece(&self, token: u32, control: bool) -> Vec<u8> {
        let Some(token) = self.checked(token) else {
            return Vec::new();
        };
        let mut bytes = vec![0_u8; 32];
        loop {
            let room = i32::try_from(bytes.len()).expect("pieces are short");
            // SAFETY: the token is in the vocabulary and the buffer has the length that is given.
            let count = unsafe {
                sys::llama_token_to_piece(self.pointer(), token, bytes.as_mut_ptr().cast(), room, 0, control)
            };
            match usize::try_from(count) {
                Ok(count) => {
                    bytes.truncate(count);
                    return bytes;
                }
                Err(_) => bytes.resize(
                    usize::try_from(count.unsigned_abs()).expect("pieces are short"),
                    0,
                ),
            }
        }
    }

    /// Whether the token ends the model's turn.
    pub(crate) fn is_end_of_generation(&self, token: u32) -> bool {
        // SAFETY: the token is in the vocabulary.
        self.checked(token)
            .is_some_and(|token| unsafe { sys::llama_vocab_is_eog(self.pointer(), token) })
    }

    /// The token that begins a sequence, if there is one.
    pub(crate) fn begin_of_sequence(&self) -> Option<u32> {
        // SAFETY: the vocabulary is alive.
        u32::try_from(unsafe { sys::llama_vocab_bos(self.pointer()) }).ok()
    }

    /// The token that ends a sequence, if there is one.
    pub(crate) fn end_of_sequence(&self) -> Option<u32> {
        // SAFETY: the vocabulary is alive.
        u32::try_from(unsafe { sys::llama_vocab_eos(self.pointer()) }).ok()
    }

    /// Whether the model wants its sequences to begin with a token of its own.
    pub(crate) fn adds_begin_of_sequence(&self) -> bool {
        // SAFETY: the vocabulary is alive.
        unsafe { sys::llama_vocab_get_add_bos(self.pointer()) }
    }

    fn checked(&self, token: u32) -> Option<i32> {
        ((token as usize) < self.length())
            .then_some(token)
            .and_then(|token| i32::try_from(token).ok())
    }
}
