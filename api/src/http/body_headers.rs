//! What the headers of a request say about its body, before any of it is read.

use poem::{
    Request,
    http::{HeaderMap, header},
};

use super::{problem::Problem, problem_code::Code};

/// The only coding in which bodies are understood (RFC 9110, 8.4.1).
pub(crate) const IDENTITY: &str = "identity";

/// Whether the body is JSON, the whole of it, and not encoded.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(header::CONTENT_RANGE) {
        // RFC 9110, 14.5: else a part would be stored as the whole.
        let detail = "A part of an item cannot be written: send all of it, without Content-Range.";
        return Err(Problem::invalid(detail));
    }
    if !is_identity(headers) {
        let problem = Problem::new(
            Code::UnsupportedMediaType,
            "Send it without Content-Encoding.",
        );
        return Err(problem.with_accept_encoding(IDENTITY));
    }
    if !is_json(headers) {
        let detail = "Send it with Content-Type: application/json.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    Ok(())
}

/// Whether no line of `Content-Encoding` names another coding.
fn is_identity(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(IDENTITY.as_bytes())
    })
}

/// `application/json`, in UTF-8 if it says anything about that.
fn is_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (given.next(), given.next()) else {
        return false;
    };
    let Ok(text) = only.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let value = value.trim().trim_matches('"');
                value.eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_utf8_is_the_only_media_type() {
        let with = |content_type: &str| {
            is_json(
                Request::builder()
                    .content_type(content_type)
                    .finish()
                    .headers(),
            )
        };
        assert!(with("application/json"));
        assert!(with("Application/JSON; charset=UTF-8"));
        assert!(with("application/json;charset=\"utf-8\""));
        assert!(!with("application/json; charset=latin1"));
        assert!(!with("application/json; charset = latin1"));
        assert!(!with("application/json; charset=utf-8; charset=utf-16"));
        assert!(!with("text/plain"));
        assert!(!with("application/jsonp"));
        assert!(!with("application/vnd.api+json"));
        assert!(!is_json(Request::builder().finish().headers()));
    }

    #[test]
    fn identity_is_the_only_coding() {
        let with = |lines: &[&str]| {
            let request = lines.iter().fold(Request::builder(), |request, line| {
                request.header(header::CONTENT_ENCODING, *line)
            });
            is_identity(request.finish().headers())
        };
        for lines in [&[][..], &[""], &["identity"], &["Identity ,identity"]] {
            assert!(with(lines), "{lines:?}");
        }
        for lines in [
            &["gzip"][..],
            &["identity, br"],
            &["identity", "x"],
            &["gzip;q=0"],
        ] {
            assert!(!with(lines), "{lines:?}");
        }
    }
}
