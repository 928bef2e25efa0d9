//! When an item is to expire, as a client says it.

use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike, Utc};
use entity::{Time, write::Expiry};

use crate::http::Problem;

/// A hundred years, in seconds.
pub(crate) const MOST_SECONDS: u64 = 3_153_600_000;

/// From the members `ttl` and `expires_at` of a body, and from the parameter `keep_ttl`.
///
/// # Errors
/// 400.
pub(super) fn expiry(
    ttl: Option<u64>,
    expires_at: Option<&str>,
    keep_ttl: bool,
) -> Result<Expiry, Problem> {
    match (ttl, expires_at, keep_ttl) {
        (None, None, false) => Ok(Expiry::Never),
        (None, None, true) => Ok(Expiry::Keep),
        (Some(seconds), None, false) if (1..=MOST_SECONDS).contains(&seconds) => {
            Ok(Expiry::After(Duration::from_secs(seconds)))
        }
        (Some(_), None, false) => {
            let detail = format!("A ttl is 1 to {MOST_SECONDS} seconds.");
            Err(Problem::invalid(detail))
        }
        (None, Some(text), false) => at(text).map(Expiry::At),
        _ => Err(Problem::invalid(
            "Of ttl, expires_at and keep_ttl=true there may be one.",
        )),
    }
}

/// RFC 3339 with any offset; what is less than a microsecond is cut.
fn at(text: &str) -> Result<Time, Problem> {
    let time = DateTime::parse_from_rfc3339(text).ok();
    // A leap second, and a minus of Unicode, are not taken.
    let is_plain = |time: &DateTime<_>| text.is_ascii() && time.nanosecond() < 1_000_000_000;
    let time = time.filter(is_plain).ok_or_else(|| {
        Problem::invalid(
            "expires_at is a time with its offset, as RFC 3339 has it: 2026-01-31T09:30:00Z.",
        )
    })?;
    // The years that RFC 3339 has, in UTC too.
    if time.to_utc().year() > 9999 {
        return Err(Problem::invalid("expires_at is after the year 9999."));
    }
    if time <= Utc::now() {
        return Err(Problem::invalid("expires_at is in the past."));
    }
    Ok(time.to_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_them_is_taken_and_within_its_bounds() {
        let far = "2999-12-31T23:59:59.1234567+14:00";
        let expected = "2999-12-31T09:59:59.123456Z";
        let Ok(Expiry::At(time)) = expiry(None, Some(far), false) else {
            panic!("it is a time");
        };
        assert_eq!(time.to_string(), expected);
        assert_eq!(expiry(None, None, false).ok(), Some(Expiry::Never));
        assert_eq!(expiry(None, None, true).ok(), Some(Expiry::Keep));
        let second = Expiry::After(Duration::from_secs(1));
        assert_eq!(expiry(Some(1), None, false).ok(), Some(second));
        for (ttl, at, keep) in [
            (Some(0), None, false),
            (Some(MOST_SECONDS + 1), None, false),
            (Some(1), Some(far), false),
            (Some(1), None, true),
            (None, Some(far), true),
            (None, Some("2999-12-31"), false),
            (None, Some("2999-12-31T00:00:60Z"), false),
            (None, Some("2999-12-31T00:00:00\u{2212}01:00"), false),
            (None, Some("9999-12-31T23:59:59-01:00"), false),
            (None, Some("12999-12-31T00:00:00Z"), false),
            (None, Some("2999-12-31T23:59:59"), false),
            (None, Some("1999-12-31T23:59:59Z"), false),
        ] {
            assert!(expiry(ttl, at, keep).is_err(), "{ttl:?} {at:?} {keep}");
        }
    }
}
