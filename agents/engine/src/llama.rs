//! The one door to llama.cpp, and the only unsafe code of the engine beside two system calls in `worker/system.rs`:
//! models, contexts, one decoding step, vocabularies, dequantisation. Nothing here knows what a stage or a session is.
//!
//! llama.cpp aborts the process when an assertion of its own fails, so callers validate first; what each function needs
//! is said at it.

#![allow(unsafe_code)]

mod log;
mod vocabulary;

use std::{
    ffi::{CStr, CString, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr::{self, NonNull},
    sync::{Arc, Once},
};

use llama_cpp_sys_2 as sys;

pub(crate) use vocabulary::Vocabulary;

use crate::{Error, Result};

/// Prepares llama.cpp once in a process. Without this its messages would flood standard error.
fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        log::capture();
        // SAFETY: called once, before any other function of llama.cpp but the log setter, which is its documented use.
        unsafe { sys::llama_backend_init() };
    });
}

/// Threads that compute, shared by all contexts of the process. They sleep between graphs: threads that spin would take
/// a neighbouring stage's core (measured: decoding falls to a third on two cores).
pub(crate) struct ThreadPool {
    pool: NonNull<sys::ggml_threadpool>,
    threads: u32,
}

// SAFETY: the pool is used by one graph at a time, because only the thread that owns the contexts computes; ggml guards
// creation, use and destruction with its own mutex and may be called from any thread.
unsafe impl Send for ThreadPool {}
// SAFETY: as above; a shared reference gives nothing but the pointer and the number of threads.
unsafe impl Sync for ThreadPool {}

impl ThreadPool {
    /// Starts `threads - 1` threads; the calling thread is the last one.
    pub(crate) fn new(threads: u32) -> Result<Self> {
        prepare();
        let count = i32::try_from(threads)
            .ok()
            .filter(|count| (1..=512).contains(count));
        let count = count.ok_or_else(|| Error::invalid("threads", threads, "use 1 to 512"))?;
        // SAFETY: the parameters are a plain value made by ggml itself.
        let pool = unsafe {
            let mut parameters = sys::ggml_threadpool_params_default(count);
            parameters.poll = 0;
            sys::ggml_threadpool_new(&raw mut parameters)
        };
        let pool = NonNull::new(pool)
            .ok_or_else(|| Error::invalid("threads", threads, "threads cannot be started"))?;
        Ok(Self { pool, threads })
    }
}

impl ThreadPool {
    pub(crate) fn num_threads(&self) -> u32 {
        self.threads
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: made by `ggml_threadpool_new`; contexts that were attached hold an `Arc` of this and are gone.
        unsafe { sys::ggml_threadpool_free(self.pool.as_ptr()) };
    }
}

/// A model that is loaded, or only its vocabulary.
pub(crate) struct Model {
    model: NonNull<sys::llama_model>,
}

// SAFETY: a loaded model is never written to again; llama.cpp shares one between the contexts of several threads.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Maps the weights of the GGUF file at `path`. `progress` is called with a share of 1.
    pub(crate) fn load(path: &Path, progress: &mut dyn FnMut(f32)) -> Result<Self> {
        Self::load_with(path, false, progress)
    }

    /// Reads nothing but the vocabulary.
    pub(crate) fn load_vocabulary(path: &Path) -> Result<Self> {
        Self::load_with(path, true, &mut |_| {})
    }

    fn load_with(path: &Path, vocabulary_only: bool, mut progress: &mut dyn FnMut(f32)) -> Result<Self> {
        unsafe extern "C" fn report(share: f32, progress: *mut c_void) -> bool {
            // SAFETY: llama.cpp hands back the pointer that `load_with` gave it, during the call, on its thread.
            let progress = unsafe { &mut *progress.cast::<&mut dyn FnMut(f32)>() };
            progress(share);
            true
        }
        prepare();
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::invalid("model_path", path.display(), "a path has no zero byte"))?;
        log::clear();
        // SAFETY: the parameters are made by llama.cpp; name and progress outlive the call.
        let model = unsafe {
            let mut parameters = sys::llama_model_default_params();
            parameters.load_mode = sys::LLAMA_LOAD_MODE_MMAP;
            parameters.vocab_only = vocabulary_only;
            parameters.n_gpu_layers = 0;
            parameters.progress_callback = Some(report);
            parameters.progress_callback_user_data = (&raw mut progress).cast();
            sys::llama_model_load_from_file(name.as_ptr(), parameters)
        };
        let model = NonNull::new(model).ok_or_else(|| Error::Load {
            path: path.display().to_string(),
            reason: log::last_error(),
        })?;
        Ok(Self { model })
    }

    /// Floats in one row of hidden state.
    pub(crate) fn embedding_length(&self) -> usize {
        // SAFETY: the model is loaded.
        let length = unsafe { sys::llama_model_n_embd(self.model.as_ptr()) };
        usize::try_from(length).expect("llama.cpp refuses models without an embedding length")
    }

    /// Rows of the head, which is the length of a row of logits.
    pub(crate) fn vocabulary_length(&self) -> usize {
        // SAFETY: the model is loaded; this reads a count and works without a vocabulary, too.
        let length = unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(self.model.as_ptr())) };
        usize::try_from(length).expect("a count is not negative")
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: loaded by llama.cpp; contexts hold an `Arc` of this and are gone.
        unsafe { sys::llama_model_free(self.model.as_ptr()) };
    }
}

/// How a context is made.
pub(crate) struct ContextShape {
    /// Cells for each sequence.
    pub(crate) cells: u32,
    /// Sequences.
    pub(crate) sequences: u32,
    /// Most rows in one step.
    pub(crate) rows_max: u32,
    /// Most rows of logits in one step.
    pub(crate) outputs_max: u32,
    /// One pool of cells for all sequences instead of one each.
    pub(crate) unified: bool,
    /// The layer whose output is wanted instead of logits; computation stops behind it.
    pub(crate) captured_layer: Option<u32>,
}

/// Caches, buffers and graph for one model, and one decoding step at a time.
pub(crate) struct Context {
    context: NonNull<sys::llama_context>,
    /// The callback of the context points into this box, so it outlives the context.
    capture: Option<Box<Capture>>,
    model: Arc<Model>,
    threads: Arc<ThreadPool>,
}

// SAFETY: a context has no thread affinity; `&mut self` keeps its steps apart.
unsafe impl Send for Context {}

/// What goes into a step.
#[derive(Clone, Copy)]
pub(crate) enum StepInput<'a> {
    /// Tokens, each below the vocabulary's length.
    Tokens(&'a [i32]),
    /// Hidden states, row after row.
    Hidden(&'a [f32]),
}

/// One row of a step.
#[derive(Clone, Copy)]
pub(crate) struct StepRow {
    /// The sequence, below [`ContextShape::sequences`].
    pub(crate) sequence: u32,
    /// Its next position.
    pub(crate) position: u32,
    /// Whether logits are wanted.
    pub(crate) output: bool,
}

impl Context {
    /// Reserves everything that the context will ever hold.
    pub(crate) fn new(model: Arc<Model>, threads: Arc<ThreadPool>, shape: &ContextShape) -> Result<Self> {
        let mut capture = shape.captured_layer.map(|layer| Box::new(Capture::of(layer)));
        let count = i32::try_from(threads.threads).expect("a pool has at most 512 threads");
        log::clear();
        // SAFETY: the parameters are made by llama.cpp; the capture is boxed, so that its address stays, and is kept
        // in the context, which drops it last.
        let context = unsafe {
            let mut parameters = sys::llama_context_default_params();
            parameters.n_ctx = shape.cells * shape.sequences;
            parameters.n_batch = shape.rows_max;
            parameters.n_ubatch = shape.rows_max;
            parameters.n_seq_max = shape.sequences;
            parameters.n_outputs_max = shape.outputs_max;
            parameters.n_threads = count;
            parameters.n_threads_batch = count;
            parameters.kv_unified = shape.unified;
            parameters.no_perf = true;
            if let Some(capture) = &mut capture {
                parameters.cb_eval = Some(Capture::evaluate);
                parameters.cb_eval_user_data = (&raw mut **capture).cast();
            }
            sys::llama_init_from_model(model.model.as_ptr(), parameters)
        };
        let context = NonNull::new(context).ok_or_else(|| Error::Load {
            path: "its context".into(),
            reason: log::last_error(),
        })?;
        let mut context = Self {
            context,
            capture,
            model,
            threads: Arc::clone(&threads),
        };
        context.use_threads(threads);
        Ok(context)
    }

    /// Computes with these threads from the next step on.
    pub(crate) fn use_threads(&mut self, threads: Arc<ThreadPool>) {
        let count = i32::try_from(threads.threads).expect("a pool has at most 512 threads");
        // SAFETY: both are alive, and the context keeps the pool alive; no step is under way, since that borrows `self`.
        unsafe {
            sys::llama_attach_threadpool(
                self.context.as_ptr(),
                threads.pool.as_ptr(),
                threads.pool.as_ptr(),
            );
            sys::llama_set_n_threads(self.context.as_ptr(), count, count);
        }
        self.threads = threads;
    }

    /// Computes one step. The caller has checked that there are 1 to `rows_max` rows, that input and rows have the same
    /// length, that tokens, sequences and positions are in range, and that at most `outputs_max` rows want logits.
    ///
    /// # Errors
    ///
    /// llama.cpp's return value, which is not 0. The caches of the sequences that took part are then undefined.
    pub(crate) fn step(&mut self, input: StepInput<'_>, rows: &[StepRow]) -> std::result::Result<(), i32> {
        let convert =
            |number: u32| i32::try_from(number).expect("the caller checked sequences and positions");
        let mut positions: Vec<i32> = rows.iter().map(|row| convert(row.position)).collect();
        let mut sequences: Vec<i32> = rows.iter().map(|row| convert(row.sequence)).collect();
        let mut sequence_pointers: Vec<*mut i32> = sequences.iter_mut().map(ptr::from_mut).collect();
        let mut sequence_counts = vec![1; rows.len()];
        // The last layer drops rows that want no output, so a captured layer needs all of them.
        let mut outputs: Vec<i8> = rows
            .iter()
            .map(|row| i8::from(row.output || self.capture.is_some()))
            .collect();
        let (tokens, hidden) = match input {
            StepInput::Tokens(tokens) => {
                assert_eq!(tokens.len(), rows.len(), "one token for each row");
                (tokens.as_ptr().cast_mut(), ptr::null_mut())
            }
            StepInput::Hidden(hidden) => {
                assert_eq!(
                    hidden.len(),
                    rows.len() * self.model.embedding_length(),
                    "one hidden state for each row"
                );
                (ptr::null_mut(), hidden.as_ptr().cast_mut())
            }
        };
        if let Some(capture) = &mut self.capture {
            capture.rows.clear();
        }
        let batch = sys::llama_batch {
            n_tokens: convert(u32::try_from(rows.len()).expect("a batch has few rows")),
            token: tokens,
            embd: hidden,
            pos: positions.as_mut_ptr(),
            n_seq_id: sequence_counts.as_mut_ptr(),
            seq_id: sequence_pointers.as_mut_ptr(),
            logits: outputs.as_mut_ptr(),
        };
        // SAFETY: every pointer leads to `rows.len()` elements (checked above) that live until the call returns, and
        // llama.cpp reads but does not write them.
        let code = unsafe {
            let code = sys::llama_decode(self.context.as_ptr(), batch);
            sys::llama_synchronize(self.context.as_ptr());
            code
        };
        if code == 0 { Ok(()) } else { Err(code) }
    }

    /// The captured layer's output for all rows of the last step, row after row.
    pub(crate) fn captured(&self) -> &[f32] {
        self.capture.as_ref().map_or(&[], |capture| &capture.rows)
    }

    /// Logits of row `row` of the last step, if it wanted an output.
    pub(crate) fn logits(&self, row: usize) -> Option<&[f32]> {
        let row = i32::try_from(row).ok()?;
        // SAFETY: llama.cpp returns null for a row without output, otherwise as many floats as the head has rows. They
        // stay until the next step, which needs `&mut self`.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.context.as_ptr(), row);
            (!logits.is_null()).then(|| std::slice::from_raw_parts(logits, self.model.vocabulary_length()))
        }
    }

    /// Drops all positions of a sequence from `keep` on.
    pub(crate) fn truncate(&mut self, sequence: u32, keep: u32) -> bool {
        let (Ok(sequence), Ok(keep)) = (i32::try_from(sequence), i32::try_from(keep)) else {
            return false;
        };
        // SAFETY: the context is alive; removing what is not there does nothing.
        unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.context.as_ptr()), sequence, keep, -1) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp and not used again. Model, threads and capture are dropped after this.
        unsafe { sys::llama_free(self.context.as_ptr()) };
    }
}

/// Copies one layer's output out of the graph and stops what comes after it.
struct Capture {
    /// `l_out-N`, the graph builder's name for it; internal to llama.cpp, hence the pinned version.
    tensor: CString,
    rows: Vec<f32>,
}

impl Capture {
    fn of(layer: u32) -> Self {
        Self {
            tensor: CString::new(format!("l_out-{layer}")).expect("digits are not zero bytes"),
            rows: Vec::new(),
        }
    }

    unsafe extern "C" fn evaluate(tensor: *mut sys::ggml_tensor, asking: bool, capture: *mut c_void) -> bool {
        // SAFETY: llama.cpp hands back the box's address, on the thread that runs the step; nobody else reads it then.
        let capture = unsafe { &mut *capture.cast::<Self>() };
        // SAFETY: ggml's names are zero-terminated and the tensor is alive during the call.
        let name = unsafe { CStr::from_ptr((*tensor).name.as_ptr()) };
        if name != capture.tensor.as_c_str() {
            // Asked, we do not want to see this tensor; told, computing goes on.
            return !asking;
        }
        if asking {
            return true;
        }
        let start = capture.rows.len();
        // SAFETY: the tensor was computed just now and holds as many bytes as it says, of type f32, as every layer's
        // output in llama.cpp does. A step of several micro-batches comes here once for each, in order.
        unsafe {
            let bytes = sys::ggml_nbytes(tensor);
            capture.rows.reserve_exact(bytes / size_of::<f32>());
            capture.rows.resize(start + bytes / size_of::<f32>(), 0.0);
            sys::ggml_backend_tensor_get(tensor, capture.rows[start..].as_mut_ptr().cast(), 0, bytes);
        }
        false
    }
}

/// Writes the floats that `bytes` of ggml type `kind` stand for into `floats`. `bytes` must be whole blocks, as many as
/// `floats` needs. Returns whether ggml knows how.
pub(crate) fn dequantise(kind: u32, bytes: &[u8], floats: &mut [f32]) -> bool {
    const F32: u32 = sys::GGML_TYPE_F32;
    if kind >= sys::GGML_TYPE_COUNT {
        return false;
    }
    if kind == F32 {
        for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks().0) {
            *float = f32::from_le_bytes(*bytes);
        }
        return true;
    }
    // SAFETY: the kind is one of ggml's, whose traits are a static table.
    let traits = unsafe { &*sys::ggml_get_type_traits(kind) };
    let (Some(to_float), Ok(block)) = (traits.to_float, usize::try_from(traits.blck_size)) else {
        return false;
    };
    if block == 0
        || !floats.len().is_multiple_of(block)
        || bytes.len() != floats.len() / block * traits.type_size
    {
        return false;
    }
    let count = i64::try_from(floats.len()).expect("a row of floats fits");
    // SAFETY: both slices have exactly the lengths that the type's traits ask for; ggml's blocks have no alignment
    // above two bytes, and rows of a GGUF tensor keep it, since callers hand over whole rows in a fresh allocation.
    unsafe { to_float(bytes.as_ptr().cast(), floats.as_mut_ptr(), count) };
    true
}

/// Whether llama.cpp holds a second, rearranged copy of weights of this type and number of rows on this processor, for
/// its fast kernels. The rules are those of ggml's `ggml_repack_get_optimal_repack_type`.
pub(crate) fn is_repacked(kind: u32, rows: u64) -> bool {
    // SAFETY: these functions only look at the processor.
    let (avx2, avx512, dotprod, int8) = unsafe {
        (
            sys::ggml_cpu_has_avx2() != 0,
            sys::ggml_cpu_has_avx512() != 0,
            sys::ggml_cpu_has_neon() != 0 && sys::ggml_cpu_has_dotprod() != 0,
            sys::ggml_cpu_has_neon() != 0 && sys::ggml_cpu_has_matmul_int8() != 0,
        )
    };
    let neon = dotprod || int8;
    match kind {
        sys::GGML_TYPE_Q4_0 => (avx2 && rows.is_multiple_of(8)) || (neon && rows.is_multiple_of(4)),
        sys::GGML_TYPE_Q4_K => (avx2 || neon) && rows.is_multiple_of(8),
        sys::GGML_TYPE_Q2_K => avx512 && rows.is_multiple_of(8),
        sys::GGML_TYPE_Q5_K | sys::GGML_TYPE_Q6_K => neon && rows.is_multiple_of(8),
        sys::GGML_TYPE_IQ4_NL | sys::GGML_TYPE_MXFP4 => {
            (avx2 && rows.is_multiple_of(8)) || (dotprod && rows.is_multiple_of(4))
        }
        sys::GGML_TYPE_Q8_0 => neon && rows.is_multiple_of(4),
        _ => false,
    }
}

/// What ggml says of a tensor type: its name, elements in a block, bytes of a block.
#[cfg(test)]
pub(crate) fn kind(kind: u32) -> (String, u64, u64) {
    assert!(kind < sys::GGML_TYPE_COUNT);
    // SAFETY: the kind is one of ggml's, whose traits are a static table with static names.
    unsafe {
        let traits = &*sys::ggml_get_type_traits(kind);
        let name = CStr::from_ptr(traits.type_name).to_string_lossy().into_owned();
        (name, traits.blck_size.cast_unsigned(), traits.type_size as u64)
    }
}
