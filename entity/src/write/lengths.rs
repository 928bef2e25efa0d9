//! Lists in statements of few lengths.

/// As many as a power of two: the last one is repeated.
pub(super) fn padded<T: Copy>(some: &[T]) -> Vec<T> {
    let mut padded = some.to_vec();
    if let Some(last) = some.last() {
        padded.resize(some.len().next_power_of_two(), *last);
    }
    padded
}
