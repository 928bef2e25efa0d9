//! Around every request: its id, its client, the metrics, and one line in the log. That is for who
//! asks for it (`debug`), unless the request failed (500 or 504).

use std::{sync::Arc, time::Instant};

use poem::{
    Endpoint, Request, Response, Result,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use tracing::Level;

use crate::{
    client_ip::{TrustedProxies, client_ip},
    metrics::Metrics,
    request_id::{RequestId, X_REQUEST_ID},
    routes::{ClientAddress, Route},
};

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
        let id = RequestId::of(request.headers());
        let route = Route::of(request.uri().path());
        let method = request.method().clone();
        let client = self.client(&request);
        request.set_data(client);

        let in_flight = self.metrics.request_begins();
        let answer = id.clone().scope(self.inner.call(request)).await;
        let mut response = answer.unwrap_or_else(poem::Error::into_response);
        drop(in_flight);

        let taken = begun.elapsed();
        let status = response.status();
        self.metrics.request_ends(route, &method, status, taken);
        macro_rules! log {
            ($level:ident) => {
                id.log(|| {
                    tracing::$level!(
                        %method,
                        route = route.template(),
                        status = status.as_u16(),
                        duration_ms = taken.as_micros() as f64 / 1000.0,
                        client = %client.0,
                        "request"
                    )
                })
            };
        }
        // A database that is lost is said once, and what there is too much of is for the metrics.
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            log!(info);
        } else if tracing::enabled!(Level::DEBUG) {
            // Asked first, since else its span would be made for no line.
            log!(debug);
        }
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, id.into());
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
