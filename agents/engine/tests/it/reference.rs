//! The judge: the whole model's own file through llama.cpp's plain functions, with nothing of ours between.

#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::Once,
};

use llama_cpp_sys_2 as sys;

unsafe extern "C" fn silent(_: sys::ggml_log_level, _: *const c_char, _: *mut c_void) {}

/// The unsplit model with one thread.
pub(crate) struct Reference {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
}

/// One row: token, sequence, position, whether logits are wanted.
pub(crate) type ReferenceRow = (u32, u32, u32, bool);

impl Reference {
    pub(crate) fn load(path: &Path, context: u32, sequences: u32, rows_max: u32) -> Self {
        static PREPARED: Once = Once::new();
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: plain use of llama.cpp's interface, as its examples show it.
        unsafe {
            PREPARED.call_once(|| {
                sys::llama_log_set(Some(silent), ptr::null_mut());
                sys::llama_backend_init();
            });
            let mut parameters = sys::llama_model_default_params();
            parameters.n_gpu_layers = 0;
            let model = sys::llama_model_load_from_file(path.as_ptr(), parameters);
            assert!(!model.is_null());
            let mut parameters = sys::llama_context_default_params();
            parameters.n_ctx = context * sequences;
            parameters.n_batch = rows_max;
            parameters.n_ubatch = rows_max;
            parameters.n_seq_max = sequences;
            parameters.kv_unified = false;
            parameters.n_threads = 1;
            parameters.n_threads_batch = 1;
            let context = sys::llama_init_from_model(model, parameters);
            assert!(!context.is_null());
            Self { model, context }
        }
    }

    /// Logits of the rows that want them.
    pub(crate) fn decode(&mut self, rows: &[ReferenceRow]) -> Vec<Vec<f32>> {
        let count = i32::try_from(rows.len()).unwrap();
        // SAFETY: the batch is made and freed by llama.cpp and filled within its size; logits are copied at once.
        unsafe {
            let mut batch = sys::llama_batch_init(count, 0, 1);
            batch.n_tokens = count;
            for (index, &(token, sequence, position, output)) in rows.iter().enumerate() {
                *batch.token.add(index) = token.cast_signed();
                *batch.pos.add(index) = position.cast_signed();
                *batch.n_seq_id.add(index) = 1;
                **batch.seq_id.add(index) = sequence.cast_signed();
                *batch.logits.add(index) = i8::from(output);
            }
            assert_eq!(sys::llama_decode(self.context, batch), 0);
            sys::llama_batch_free(batch);
            let vocabulary = sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(self.model));
            let wanted = rows.iter().enumerate().filter(|(_, row)| row.3);
            wanted
                .map(|(index, _)| {
                    let logits = sys::llama_get_logits_ith(self.context, i32::try_from(index).unwrap());
                    std::slice::from_raw_parts(logits, usize::try_from(vocabulary).unwrap()).to_vec()
                })
                .collect()
        }
    }

    /// Greedy tokens after a prompt that is given in chunks.
    pub(crate) fn generate(&mut self, prompt: &[u32], chunk: usize, count: usize) -> Vec<u32> {
        // SAFETY: the context is alive.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context), true) };
        let mut position = 0;
        let mut logits = Vec::new();
        for (index, tokens) in prompt.chunks(chunk).enumerate() {
            let last_chunk = (index + 1) * chunk >= prompt.len();
            let rows: Vec<ReferenceRow> = (position..)
                .zip(tokens)
                .map(|(at, &token)| (token, 0, at, last_chunk && at as usize + 1 == prompt.len()))
                .collect();
            logits = self.decode(&rows);
            position += u32::try_from(tokens.len()).unwrap();
        }
        let mut tokens = Vec::new();
        loop {
            tokens.push(best(&logits[0]));
            if tokens.len() == count {
                return tokens;
            }
            logits = self.decode(&[(*tokens.last().unwrap(), 0, position, true)]);
            position += 1;
        }
    }

    pub(crate) fn tokenize(&self, text: &str, begin: bool, control: bool) -> Vec<u32> {
        let mut tokens = vec![0_i32; text.len() + 16];
        // SAFETY: buffer and text have the lengths that are given.
        let count = unsafe {
            sys::llama_tokenize(
                sys::llama_model_get_vocab(self.model),
                text.as_ptr().cast(),
                i32::try_from(text.len()).unwrap(),
                tokens.as_mut_ptr(),
                i32::try_from(tokens.len()).unwrap(),
                begin,
                control,
            )
        };
        tokens.truncate(usize::try_from(count).unwrap());
        tokens.into_iter().map(i32::cast_unsigned).collect()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: both were made by llama.cpp and are not used again.
        unsafe {
            sys::llama_free(self.context);
            sys::llama_model_free(self.model);
        }
    }
}

/// The first of the largest logits.
pub(crate) fn best(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    u32::try_from(best).unwrap()
}
