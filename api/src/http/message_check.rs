//! What a message must be before its resource matters: its target names one, and its end can be found.

use poem::{
    Request,
    http::{HeaderMap, Method, header},
};

use super::{problem::Problem, problem_code::Code, request_check::method_not_allowed};

/// All methods that any resource has.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
];

/// Checks the target (RFC 9112, 3.2) and the transfer codings (6.1) of a request.
pub(super) fn check_message(request: &Request) -> Result<(), Problem> {
    check_codings(request.headers())?;
    match request.uri().path() {
        // What follows is no HTTP to a client that believes in its tunnel.
        _ if request.method() == Method::CONNECT => Err(method_not_allowed(&METHODS).with_close()),
        "*" if request.method() == Method::OPTIONS => Err(method_not_allowed(&METHODS)),
        path if path.starts_with('/') => Ok(()),
        _ => Err(Problem::invalid("The request target is no path.")),
    }
}

/// hyper finds the end of a body whose last coding is `chunked`, and lets everything before that pass.
fn check_codings(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let codings: Vec<_> = codings.map(<[u8]>::trim_ascii).collect();
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if codings.iter().all(is_chunked) {
        return match codings.len() {
            1 => Ok(()),
            _ => Err(Problem::invalid("A body is chunked only once.").with_close()),
        };
    }
    let detail = "Of the transfer codings there is only chunked here.";
    Err(Problem::new(Code::NotImplemented, detail).with_close())
}

#[cfg(test)]
mod tests {
    use poem::http::{HeaderValue, StatusCode};

    use super::*;

    fn refused(lines: &[&'static str]) -> Option<StatusCode> {
        let lines = lines.iter().map(|line| HeaderValue::from_static(line));
        let headers = lines.map(|line| (header::TRANSFER_ENCODING, line));
        let refused = check_codings(&headers.collect()).err();
        refused.map(|problem| problem.code.status())
    }

    #[test]
    fn chunked_once_is_all_there_is() {
        let bad = Some(StatusCode::BAD_REQUEST);
        let other = Some(StatusCode::NOT_IMPLEMENTED);
        let cases: [(&[_], _); 9] = [
            (&[], None),
            (&["chunked"], None),
            (&["Chunked"], None),
            (&["chunked, chunked"], bad),
            (&["chunked", "chunked"], bad),
            (&["gzip, chunked"], other),
            (&["gzip", "chunked"], other),
            (&["x;a=b ,chunked"], other),
            (&["identity, chunked"], other),
        ];
        for (lines, expected) in cases {
            assert_eq!(refused(lines), expected, "{lines:?}");
        }
    }
}
