//! Which tests took longest: where time can be won.

use std::time::Duration;

/// More would not be read.
const SHOWN: usize = 10;

/// The longest first, a line each; nothing of a run that is short anyway.
#[must_use]
pub fn table(mut taken: Vec<(String, Duration)>) -> String {
    if taken.len() <= SHOWN {
        return String::new();
    }
    taken.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let lines = taken.iter().take(SHOWN);
    let lines = lines.map(|(name, time)| format!("{:7.1} s  {name}\n", time.as_secs_f64()));
    format!("slowest:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_slowest_are_shown_the_slowest_first() {
        let named = |n: u64| (format!("test-{n}"), Duration::from_millis(n * 100));
        let table = table((0..12).map(named).collect());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "slowest:");
        assert_eq!(lines[1], "    1.1 s  test-11");
        assert_eq!(lines[10], "    0.2 s  test-2");
    }

    #[test]
    fn of_a_few_tests_nothing_is_shown() {
        assert_eq!(table(vec![("test".to_owned(), Duration::ZERO)]), "");
    }
}
