//! What is said while things start: on a terminal, bars that move, with lines above them; elsewhere, lines.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Standard error, shared by all who have something to say.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    bars: Option<MultiProgress>,
    shown: Arc<Mutex<BTreeMap<String, Shown>>>,
}

#[derive(Debug, Default)]
struct Shown {
    text: String,
    bar: Option<ProgressBar>,
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it is; the same through all its states.
    pub(crate) subject: String,
    /// How it stands, in a few words.
    pub(crate) text: String,
    /// Bytes that are there, of all, while bytes arrive.
    pub(crate) bytes: Option<(u64, u64)>,
    /// Whether it is where it should be.
    pub(crate) done: bool,
}

impl Console {
    /// Bars if standard error is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            shown: Arc::default(),
        }
    }

    /// Says a line.
    pub(crate) fn say(&self, line: &str) {
        // Nobody is left to tell when standard error is gone.
        let _ = match &self.bars {
            Some(bars) => bars.println(line),
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }

    /// Shows how things stand; what is no longer among `steps` goes.
    pub(crate) fn show(&self, steps: &[Step]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|subject, old| {
            let stays = steps.iter().any(|step| step.subject == *subject);
            if let (false, Some(bar)) = (stays, &old.bar) {
                bar.finish_and_clear();
            }
            stays
        });
        for step in steps {
            let known = shown.entry(step.subject.clone()).or_default();
            match &self.bars {
                Some(bars) => move_bar(
                    known
                        .bar
                        .get_or_insert_with(|| bars.add(ProgressBar::new_spinner())),
                    step,
                ),
                None if known.text != step.text => self.say(&format!("{}: {}", step.subject, step.text)),
                None => {}
            }
            known.text.clone_from(&step.text);
        }
    }

    /// Takes the bars away; lines that were said stay.
    pub(crate) fn clear(&self) {
        self.show(&[]);
    }
}

fn move_bar(bar: &ProgressBar, step: &Step) {
    bar.set_prefix(step.subject.clone());
    bar.set_message(step.text.clone());
    match step.bytes {
        Some((there, all)) => {
            bar.set_style(style("{prefix:28} [{bar:30}] {bytes}/{total_bytes} {msg}"));
            bar.set_length(all);
            bar.set_position(there);
        }
        None if step.done => {
            bar.set_style(style("{prefix:28} ✓ {wide_msg}"));
            bar.tick();
        }
        None => {
            bar.set_style(style("{prefix:28} {spinner} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are written here and are valid")
}
