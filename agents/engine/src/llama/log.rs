//! Keeps llama.cpp's messages away from standard error, and its last error for whoever asks.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::{Mutex, PoisonError},
};

use llama_cpp_sys_2 as sys;

/// The last error line. One for the process: loads run one after the other, and a wrong line in an error message is the
/// worst that can come of two.
static LAST_ERROR: Mutex<String> = Mutex::new(String::new());

/// Takes over llama.cpp's log.
pub(super) fn capture() {
    // SAFETY: the callback is a plain function without state.
    unsafe { sys::llama_log_set(Some(receive), ptr::null_mut()) };
}

/// Forgets earlier errors.
pub(super) fn clear() {
    LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The last error since [`clear`].
pub(super) fn last_error() -> String {
    let line = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if line.is_empty() {
        "llama.cpp gave no reason".into()
    } else {
        line
    }
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    // SAFETY: ggml hands over a zero-terminated string that lives during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let line = text.trim();
    if line.is_empty() {
        return;
    }
    if level == sys::GGML_LOG_LEVEL_ERROR {
        tracing::debug!(target: "llama", "{line}");
        let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
        // What llama.cpp says first is the cause; `failed to load model` and the like follow.
        if last.is_empty() {
            line.clone_into(&mut last);
        }
    } else {
        tracing::trace!(target: "llama", "{line}");
    }
}
