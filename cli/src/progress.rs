//! Progress of long work, on standard error if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much there is to do, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Items(u64),
    Bytes(u64),
    SomeItems,
}

/// A bar with rate and time left; of unknown work only the rate.
pub fn bar(doing: &'static str, work: Work) -> ProgressBar {
    let (length, template) = match work {
        Work::Items(items) => (
            Some(items),
            "{msg} {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left",
        ),
        Work::Bytes(bytes) => (
            Some(bytes),
            "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        ),
        Work::SomeItems => (None, "{msg} {spinner} {human_pos}, {per_sec}"),
    };
    // Hidden unless standard error is a terminal.
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // The templates are constant; without one the bar only looks otherwise.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(doing);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
