//! Around every request: its id, its client, the metrics, and one line in the log. The line is of the
//! level `debug`, unless the request failed (500 or 504).

use std::{net::IpAddr, sync::Arc, time::Duration};

use poem::{
    Endpoint, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use tokio::time::Instant;
use tracing::Level;

use super::{
    arrival::Arrival,
    client_address::{TrustedProxies, client_ip, peer},
    metrics::HttpMetrics,
    route::Route,
};
use crate::telemetry::{RequestId, X_REQUEST_ID, target};

#[derive(Clone)]
pub(crate) struct ObserveSettings {
    pub trusted_proxies: TrustedProxies,
    /// The header in which a trusted proxy names its client.
    pub client_ip_header: HeaderName,
    /// The time from the head of a request to its answer.
    pub request_timeout: Duration,
}

pub(crate) struct Observe<E> {
    pub inner: E,
    pub settings: ObserveSettings,
    pub metrics: Arc<HttpMetrics>,
}

impl<E: Endpoint<Output = Response>> Endpoint for Observe<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let begun = Instant::now();
        let id = RequestId::of(request.headers());
        let arrival = Arrival {
            route: Route::of(request.uri().path()),
            client: self.client(&request),
            deadline: begun + self.settings.request_timeout,
        };
        let method = request.method().clone();
        request.set_data(arrival);

        let in_flight = self.metrics.request_begins();
        let answer = id.clone().scope(self.inner.call(request)).await;
        let mut response = answer.unwrap_or_else(poem::Error::into_response);
        drop(in_flight);

        let taken = begun.elapsed();
        let status = response.status();
        self.metrics
            .request_ends(arrival.route, &method, status, taken);
        log_request(&id, arrival, &method, status, taken);
        add_headers(&mut response, id, arrival.route);
        Ok(response)
    }
}

/// The line of a request.
fn log_request(
    id: &RequestId,
    Arrival { route, client, .. }: Arrival,
    method: &Method,
    status: StatusCode,
    taken: Duration,
) {
    macro_rules! log {
        ($level:ident) => {
            id.log(|| {
                tracing::$level!(
                    target: target::REQUEST,
                    %method,
                    route = route.template(),
                    status = status.as_u16(),
                    duration_ms = taken.as_micros() as f64 / 1000.0,
                    %client,
                    "request"
                )
            })
        };
    }
    // A database that is lost is said once, and what there is too much of is for the metrics.
    if [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::GATEWAY_TIMEOUT,
    ]
    .contains(&status)
    {
        log!(info);
    } else if tracing::enabled!(target: target::REQUEST, Level::DEBUG) {
        // The level is asked first, since else the span of the request would be made for no line.
        log!(debug);
    }
}

fn add_headers(response: &mut Response, id: RequestId, route: Route) {
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.into());
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let caching = match route.is_of_items() {
        true => "no-cache",
        false => "no-store",
    };
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(caching));
}

impl<E> Observe<E> {
    fn client(&self, request: &Request) -> IpAddr {
        let ObserveSettings {
            trusted_proxies,
            client_ip_header,
            ..
        } = &self.settings;
        let headers = request.headers();
        client_ip(peer(request), headers, client_ip_header, trusted_proxies)
    }
}
