//! The values of settings, as a user writes them.

use std::{str::FromStr, time::Duration};

use humantime::parse_duration;
use poem::http::HeaderName;

/// A duration such as `500ms`, `5s` or `1m 30s`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_duration(text)
            .map_err(|_| "expected a duration such as 500ms, 5s or 2m".to_owned())?,
    };
    if parsed > Duration::from_hours(24) {
        return Err("expected at most 24h".to_owned());
    }
    Ok(parsed)
}

/// A number of bytes, such as `268435456`, `512KiB`, `256MiB` or `1GiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let number = digits.parse::<u128>().ok();
    let bytes = number
        .zip(unit)
        .map(|(number, unit)| number.saturating_mul(unit));
    let bytes = bytes.ok_or("expected a number of bytes such as 268435456, 256MiB or 1GiB")?;
    // No memory that a program is given is larger.
    let most = isize::MAX as usize;
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= most);
    bytes.ok_or_else(|| format!("expected at most {most} bytes"))
}

pub(super) fn request_timeout(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed < Duration::from_millis(100) {
        return Err("expected at least 100ms".to_owned());
    }
    Ok(parsed)
}

pub(super) fn window(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed.subsec_nanos() != 0 || parsed.is_zero() {
        return Err("expected whole seconds, at least 1s".to_owned());
    }
    Ok(parsed)
}

pub(super) fn client_ip_header(text: &str) -> Result<HeaderName, String> {
    let name =
        HeaderName::from_str(text).map_err(|_| "expected the name of a header".to_owned())?;
    if name == "forwarded" {
        // RFC 7239 has a syntax of its own, and hardly a proxy sends it.
        return Err("expected a header that lists addresses, such as x-forwarded-for".to_owned());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(bytes("268435456"), Ok(256 << 20));
        assert_eq!(bytes("256MiB"), Ok(256 << 20));
        assert_eq!(bytes("1 gib"), Ok(1 << 30));
        assert_eq!(bytes("512k"), Ok(512 << 10));
        for wrong in ["", "MiB", "-1", "1.5GiB", "256MB", "1٣"] {
            let told = bytes(wrong).unwrap_err();
            assert!(told.contains("such as 268435456"), "{wrong}: {told}");
        }
        assert_eq!(bytes("9223372036854775807"), Ok(isize::MAX as usize));
        for large in ["9223372036854775808", "8589934592GiB", "99999999999999GiB"] {
            let told = bytes(large).unwrap_err();
            assert!(told.contains("at most"), "{large}: {told}");
        }
    }

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert!(duration("soon").is_err());
        assert!(duration("2days").is_err());
        assert!(request_timeout("99ms").is_err());
        assert!(window("1500ms").is_err());
        assert!(window("0s").is_err());
        assert_eq!(window("60s"), Ok(Duration::from_mins(1)));
    }
}
