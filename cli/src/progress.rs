//! Progress of long work, on standard error if that is a terminal.

use std::{fmt::Write, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How much there is to do, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Items(u64),
    Bytes(u64),
    SomeItems,
}

/// A bar that is wiped off when this is dropped, so that the next line stands alone.
#[derive(Debug)]
pub(crate) struct Wiped(pub(crate) ProgressBar);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar with rate and time left; of unknown work only the rate.
pub(crate) fn bar(doing: &'static str, work: Work) -> ProgressBar {
    let (length, template) = match work {
        Work::Items(items) => (
            Some(items),
            "{msg} {wide_bar} {human_pos} of {human_len}, {rate}, {eta} left",
        ),
        Work::Bytes(bytes) => (
            Some(bytes),
            "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        ),
        Work::SomeItems => (None, "{msg} {spinner} {human_pos}, {rate}"),
    };
    // The bar is hidden unless standard error is a terminal.
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // The templates are constant and valid; without one the bar would only look different.
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // Nothing can be done about a bar that cannot be written.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.set_message(doing);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
