//! The query of a request, decoded as a form is.

use std::borrow::Cow;

use super::{percent::percent_decoded, problem::Problem};

/// The query of a request, every name once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart whose names are all `known`.
    ///
    /// # Errors
    /// A name is unknown or given twice, or the query is not percent-encoded UTF-8.
    pub(crate) fn parse(text: &str, known: impl Fn(&str) -> bool) -> Result<Self, Problem> {
        let mut given: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known(&name) {
                return Err(Problem::invalid(format!(
                    "There is no query parameter {name:?} here."
                )));
            }
            if given.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Problem::invalid(format!(
                    "The query parameter {name:?} is given more than once."
                )));
            }
            given.push((name, value));
        }
        Ok(Self(given))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The value of the first parameter of this name in a query that was not checked yet; `None` if it cannot be read.
pub(crate) fn unchecked_value(text: &str, name: &str) -> Option<String> {
    let pairs = text
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut named = pairs.filter(|(given, _)| decoded(given).is_ok_and(|given| given == name));
    decoded(named.next()?.1).ok()
}

/// Form decoding: `+` is a space; what is malformed or not UTF-8 is refused, not replaced.
fn decoded(text: &str) -> Result<String, Problem> {
    percent_decoded(&text.replace('+', " "))
        .map(Cow::into_owned)
        .ok_or_else(|| Problem::invalid("The query is not percent-encoded UTF-8."))
}

/// A whole number in digits only: the standard parser also takes a sign.
pub(crate) fn integer(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_taken_as_it_is_or_refused(text in "[0-9]{0,25}|[-+ 0-9a-fxe._]{0,6}") {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number: Option<u64> = text.parse().ok().filter(|_| digits);
            prop_assert_eq!(integer(&text), number);
        }
    }

    #[test]
    fn a_query_is_known_once_and_utf8() {
        let prefix = |text: &str| {
            let query = Query::parse(text, |name| ["prefix", "page"].contains(&name));
            query.map(|query| query.get("prefix").map(str::to_owned))
        };
        assert_eq!(prefix("prefix=a+b%20c").unwrap().as_deref(), Some("a b c"));
        assert_eq!(prefix("prefix=&page=1").unwrap().as_deref(), Some(""));
        assert_eq!(prefix("page=1").unwrap(), None);
        assert!(prefix("prefix=a&prefix=a").is_err());
        assert!(prefix("prefx=a").is_err());
        assert_eq!(prefix("pref%69x=%2B%25").unwrap().as_deref(), Some("+%"));
        for malformed in [
            "prefix=%FF",
            "prefix=%zz",
            "prefix=%",
            "prefix=%4",
            "pref%69x%=a",
        ] {
            assert!(prefix(malformed).is_err(), "{malformed}");
        }
    }
}
