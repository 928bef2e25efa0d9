//! Around every request: its id, its client, the metrics, and one line in the log. That is for who
//! asks for it (`debug`), unless the request failed (500 or 504).

use std::{sync::Arc, time::Instant};

use poem::{
    Endpoint, Request, Response, Result,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};
use tracing::Instrument;
use uuid::Builder;

use crate::{
    client_ip::{TrustedProxies, client_ip},
    metrics::Metrics,
    routes::{ClientAddress, Route},
};

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id taken over from a client, in bytes.
const MAX_ID_BYTES: usize = 128;

pub struct Observe<E> {
    pub inner: E,
    pub trusted_proxies: TrustedProxies,
    pub client_ip_header: HeaderName,
    pub metrics: Arc<Metrics>,
}

impl<E: Endpoint<Output = Response>> Endpoint for Observe<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let begun = Instant::now();
        let id = request_id(request.headers());
        let route = Route::of(request.uri().path());
        let method = request.method().clone();
        let client = self.client(&request);
        request.set_data(client);

        let span = tracing::error_span!("request", id = id.to_str().unwrap_or_default());
        let in_flight = self.metrics.request_begins();
        let answer = self.inner.call(request).instrument(span.clone()).await;
        let mut response = answer.unwrap_or_else(poem::Error::into_response);
        drop(in_flight);

        let taken = begun.elapsed();
        let status = response.status();
        self.metrics.request_ends(route, &method, status, taken);
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    parent: &span,
                    %method,
                    route = route.template(),
                    status = status.as_u16(),
                    duration_ms = taken.as_micros() as f64 / 1000.0,
                    client = %client.0,
                    "request"
                )
            };
        }
        // A database that is lost is said once, and what there is too much of is for the metrics.
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            log!(info);
        } else {
            log!(debug);
        }
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id);
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if matches!(route, Route::Items | Route::Item) {
            headers
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-cache"));
        }
        Ok(response)
    }
}

impl<E> Observe<E> {
    fn client(&self, request: &Request) -> ClientAddress {
        let peer = request
            .remote_addr()
            .as_socket_addr()
            .expect("the server listens on IP sockets only")
            .ip();
        let headers = request.headers();
        ClientAddress(client_ip(
            peer,
            headers,
            &self.client_ip_header,
            &self.trusted_proxies,
        ))
    }
}

/// The client's id of the request if it is 1 to 128 visible ASCII characters, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let given = headers.get(X_REQUEST_ID).filter(usable).cloned();
    given.unwrap_or_else(|| {
        // Told apart is enough; nobody has to guess in vain.
        let id = Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        let id = id.simple().to_string();
        HeaderValue::try_from(id).expect("hexadecimal digits are visible ASCII")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_only_if_it_is_short_and_visible() {
        let taken_over = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                X_REQUEST_ID,
                HeaderValue::from_bytes(id.as_bytes()).unwrap(),
            );
            request_id(&headers) == id
        };
        assert!(taken_over("abc-123!"));
        assert!(taken_over(&"x".repeat(128)));
        assert!(!taken_over(&"x".repeat(129)));
        assert!(!taken_over(""));
        assert!(!taken_over("a b"));
        assert!(!taken_over("é"));
    }
}
