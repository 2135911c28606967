//! The progress bar of the command line: `indicatif` on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use napi_derive::napi;

use crate::progress::ProgressEvent;

/// Redraws per second.
const RATE: u8 = 10;

/// A progress bar on standard error: one line, one phase at a time. Draws nothing where standard error is no
/// terminal.
#[napi]
pub struct TerminalBar {
    bar: ProgressBar,
    phase: String,
    documents: f64,
}

#[napi]
impl TerminalBar {
    /// An empty bar, drawn at the first update. `color` is false under `NO_COLOR`.
    #[napi(constructor)]
    pub fn new(color: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(RATE));
        bar.set_style(style(color));
        Self { bar, phase: String::new(), documents: 0.0 }
    }

    /// Shows how far the job is; a new phase, or the same one once more, starts the clock again.
    #[napi]
    pub fn update(&mut self, event: ProgressEvent) {
        if event.phase != self.phase || event.documents < self.documents {
            self.bar.reset();
            self.bar.enable_steady_tick(Duration::from_millis(200));
            self.bar.set_prefix(format!("{:<9}", event.phase));
            self.phase.clone_from(&event.phase);
        }
        self.documents = event.documents;
        match event.total {
            Some(total) => self.bar.set_length(total as u64),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(event.done as u64);
        let seconds = self.bar.elapsed().as_secs_f64().max(1e-3);
        let mut message = format!("{} docs", short(event.documents));
        if event.tokens > 0.0 {
            message += &format!(", {} tokens/s", short(event.tokens / seconds));
        }
        self.bar.set_message(message);
    }

    /// Prints a line above the bar.
    #[napi]
    pub fn println(&self, line: String) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Removes the bar from the terminal.
    #[napi]
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(color: bool) -> ProgressStyle {
    let template = if color {
        "{prefix:.bold} {wide_bar:.cyan/dim} {share:>4} {msg} {left}"
    } else {
        "{prefix} {wide_bar} {share:>4} {msg} {left}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
        .with_key("share", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            if state.len().is_some() {
                let _ = write!(out, "{:.0}%", state.fraction() * 100.0);
            }
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            if state.pos() > 0 && state.len().is_some_and(|len| state.pos() < len) {
                let _ = write!(out, "{:#} left", indicatif::HumanDuration(state.eta()));
            }
        })
}

/// `1234567` as `1.2M`.
fn short(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1}B", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.0}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}
