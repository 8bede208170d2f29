//! The judge: the whole model's own file through llama.cpp's plain functions, with nothing of ours between.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_void},
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

/// Writes the first `layers` of a model with a head of its own (the embedding table's rows in another order) and with
/// frequency factors for its rotary positions, as Llama 3 models have them.
pub(crate) fn write_untied_variant(model: &Path, target: &Path, layers: u32) {
    let [source_name, target_name] =
        [model, target].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    // SAFETY: plain use of ggml's interface; every pointer it returns is checked or used while its context lives.
    unsafe {
        let mut tensors: *mut sys::ggml_context = ptr::null_mut();
        let parameters = sys::gguf_init_params {
            no_alloc: false,
            ctx: &raw mut tensors,
        };
        let source = sys::gguf_init_from_file(source_name.as_ptr(), parameters);
        assert!(!source.is_null());
        let output = sys::gguf_init_empty();
        sys::gguf_set_kv(output, source);
        sys::gguf_set_val_u32(output, c"llama.block_count".as_ptr(), layers);
        let own = sys::ggml_init(sys::ggml_init_params {
            mem_size: 64 << 20,
            mem_buffer: ptr::null_mut(),
            no_alloc: false,
        });
        let factors = sys::ggml_new_tensor_1d(own, sys::GGML_TYPE_F32, 32);
        for index in 0..32_u8 {
            *(*factors).data.cast::<f32>().add(usize::from(index)) = 1.0 + f32::from(index) / 8.0;
        }
        sys::ggml_set_name(factors, c"rope_freqs.weight".as_ptr());
        sys::gguf_add_tensor(output, factors);
        let embedding = sys::ggml_get_tensor(tensors, c"token_embd.weight".as_ptr());
        let [width, rows] = [(*embedding).ne[0], (*embedding).ne[1]];
        let head = sys::ggml_new_tensor_2d(own, (*embedding).type_, width, rows);
        let row_bytes = (*embedding).nb[1];
        for row in 0..usize::try_from(rows).unwrap() {
            let other = usize::try_from(rows).unwrap() - 1 - row;
            let from = (*embedding).data.cast::<u8>().add(other * row_bytes);
            ptr::copy_nonoverlapping(from, (*head).data.cast::<u8>().add(row * row_bytes), row_bytes);
        }
        sys::ggml_set_name(head, c"output.weight".as_ptr());
        sys::gguf_add_tensor(output, head);
        for index in 0..sys::gguf_get_n_tensors(source) {
            let name = sys::gguf_get_tensor_name(source, index);
            let text = CStr::from_ptr(name).to_str().unwrap();
            let layer = text
                .strip_prefix("blk.")
                .and_then(|rest| rest.split('.').next())
                .map(|layer| layer.parse::<u32>());
            if layer.is_none_or(|layer| layer.unwrap() < layers) {
                sys::gguf_add_tensor(output, sys::ggml_get_tensor(tensors, name));
            }
        }
        assert!(sys::gguf_write_to_file(output, target_name.as_ptr(), false));
        sys::gguf_free(output);
        sys::gguf_free(source);
        sys::ggml_free(own);
        sys::ggml_free(tensors);
    }
}

/// Writes a model with a scale that an architecture of its family would apply to residuals; llama.cpp's does not, but the
/// model may not be split.
pub(crate) fn write_scaled_variant(model: &Path, target: &Path) {
    let [source_name, target_name] =
        [model, target].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    // SAFETY: plain use of ggml's interface; every pointer it returns is checked or used while its context lives.
    unsafe {
        let mut tensors: *mut sys::ggml_context = ptr::null_mut();
        let parameters = sys::gguf_init_params {
            no_alloc: false,
            ctx: &raw mut tensors,
        };
        let source = sys::gguf_init_from_file(source_name.as_ptr(), parameters);
        assert!(!source.is_null());
        let output = sys::gguf_init_empty();
        sys::gguf_set_kv(output, source);
        sys::gguf_set_val_f32(output, c"llama.residual_scale".as_ptr(), 0.5);
        for index in 0..sys::gguf_get_n_tensors(source) {
            let name = sys::gguf_get_tensor_name(source, index);
            sys::gguf_add_tensor(output, sys::ggml_get_tensor(tensors, name));
        }
        assert!(sys::gguf_write_to_file(output, target_name.as_ptr(), false));
        sys::gguf_free(output);
        sys::gguf_free(source);
        sys::ggml_free(tensors);
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
