//! Where a request stands in a distributed trace, in OpenTelemetry's terms: spans for the global tracer, and the header
//! [`HEADER`] by which programs hand them on. Until [`enable`] is called nothing is made and nothing is handed on.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use opentelemetry::{
    Context, KeyValue, Value,
    global::{self, BoxedSpan},
    propagation::{Extractor, Injector},
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _},
};

pub use opentelemetry::trace::SpanKind;

/// The header of W3C Trace Context, and what agents hand on to one another.
pub const HEADER: &str = "traceparent";

/// Who makes the spans.
const SCOPE: &str = "edgeloom";

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Spans are made from now on. Whoever calls this has set OpenTelemetry's global tracer provider and propagator.
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// A span; it ends when it is dropped. Nothing at all while traces are off.
#[derive(Default)]
pub struct Span(Option<BoxedSpan>);

impl Span {
    /// Begins a span under the one that `parent` names, a `traceparent`; under none when there is none, or when it is not
    /// understood.
    #[must_use]
    pub fn begin(name: &'static str, kind: SpanKind, parent: Option<&str>) -> Self {
        if !ENABLED.load(Ordering::Relaxed) {
            return Self(None);
        }
        let parent = parent.map_or_else(Context::new, |parent| {
            global::get_text_map_propagator(|propagator| {
                propagator.extract_with_context(&Context::new(), &Parent(parent))
            })
        });
        let tracer = global::tracer(SCOPE);
        let span = tracer.span_builder(name).with_kind(kind);
        Self(Some(span.start_with_context(&tracer, &parent)))
    }

    /// What a span under this one is told.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context().clone();
        let context = Context::new().with_remote_span_context(context);
        let mut child = Child(None);
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut child));
        child.0
    }

    /// The trace's name: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        Some(self.0.as_ref()?.span_context().trace_id().to_string())
    }

    /// Says something about what the span stands for. Never any text of a prompt or an answer.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Something happened just now.
    pub fn event(&mut self, name: &'static str) {
        if let Some(span) = &mut self.0 {
            span.add_event(name, vec![]);
        }
    }

    /// It did not end well.
    pub fn fail(&mut self, why: &impl fmt::Display) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why.to_string()));
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Span").field(&self.traceparent()).finish()
    }
}

struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == HEADER).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![HEADER]
    }
}

/// The propagator's other headers are for vendors; agents hand on none of them.
struct Child(Option<String>);

impl Injector for Child {
    fn set(&mut self, key: &str, value: String) {
        if key == HEADER {
            self.0 = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_or_handed_on_while_traces_are_off() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let span = Span::begin("request", SpanKind::Server, Some(parent));
        assert_eq!((span.traceparent(), span.trace_id()), (None, None));
    }
}
