//! What the head of a request must say before anything is asked of kvd: where the body ends, and for which host
//! it is. On a listener with TLS also whether it came through that. The limiter does not count what is refused here.

use poem::{
    Endpoint, IntoResponse, Request, Response,
    http::{HeaderMap, HeaderValue, header, uri::Scheme},
};

use super::{hosts::HostSettings, problem::Problem, problem_code::Code};

/// Refuses requests whose head is malformed (400, 501) or for another host (421).
pub(crate) struct CheckHead<E> {
    pub inner: E,
    pub hosts: HostSettings,
    /// Whether the listener speaks TLS.
    pub needs_tls: bool,
}

impl<E: Endpoint<Output = Response>> Endpoint for CheckHead<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let checked = self.check(&request);
        match checked {
            Ok(()) => self.inner.call(request).await,
            Err(problem) => {
                let mut response = problem.into_response();
                // Also a 400 says nothing of items here, whatever its path.
                let headers = response.headers_mut();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(response)
            }
        }
    }
}

impl<E> CheckHead<E> {
    fn check(&self, request: &Request) -> Result<(), Problem> {
        if self.needs_tls && *request.scheme() == Scheme::HTTP {
            return Err(
                Problem::invalid("This address speaks TLS: begin its URL with https://.")
                    .with_close(),
            );
        }
        check_codings(request.headers())?;
        self.hosts.check(request)
    }
}

/// Checks the transfer codings (RFC 9112, 6.1). hyper finds the end of a body whose last coding is `chunked`, and
/// lets everything before that pass.
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
