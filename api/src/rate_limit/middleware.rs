//! The limiter in the path of a request, and what it tells the client.
//!
//! Header fields: the IETF draft *RateLimit header fields for HTTP*, revision 11; `Retry-After`:
//! RFC 9110.

use std::sync::Arc;

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderName, HeaderValue, StatusCode},
};

use super::{
    limiter::RateLimiter,
    metrics::LimiterMetrics,
    window::{Decision, Quota, seconds_up},
};
use crate::http::{Arrival, Code, Problem, client_network};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Asks the limiter about requests to `/items` and everything below it.
pub(crate) struct RateLimit<E> {
    pub inner: E,
    /// `None` if the limiter is turned off.
    pub limiter: Option<Arc<RateLimiter>>,
    pub metrics: LimiterMetrics,
}

impl<E: Endpoint<Output = Response>> Endpoint for RateLimit<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let arrival = Arrival::of(&request);
        let Some(limiter) = &self.limiter else {
            return self.inner.call(request).await;
        };
        if !arrival.route.is_limited() {
            let response = self.inner.call(request).await?;
            return Ok(match response.status() {
                StatusCode::UNAUTHORIZED => self.counted(limiter, arrival, response),
                _ => response,
            });
        }
        let quota = limiter.quota();
        match limiter.admit(client_network(arrival.client)) {
            Decision::Admitted { remaining, reset } => {
                self.metrics.admitted.inc();
                let mut response = self.inner.call(request).await?;
                describe(&mut response, quota, remaining, seconds_up(reset));
                Ok(response)
            }
            Decision::Refused { retry_after } => {
                self.metrics.refused.inc();
                let seconds = seconds_up(retry_after).max(1);
                let mut response = rate_limited(quota, seconds).into_response();
                describe(&mut response, quota, 0, seconds);
                Ok(response)
            }
        }
    }
}

impl<E> RateLimit<E> {
    /// Counts a request after its answer: who tries tokens is held to the limit wherever that is.
    fn counted(&self, limiter: &RateLimiter, arrival: Arrival, mut response: Response) -> Response {
        let quota = limiter.quota();
        match limiter.admit(client_network(arrival.client)) {
            Decision::Admitted { remaining, reset } => {
                self.metrics.admitted.inc();
                describe(&mut response, quota, remaining, seconds_up(reset));
            }
            Decision::Refused { retry_after } => {
                self.metrics.refused.inc();
                let seconds = seconds_up(retry_after).max(1);
                response = rate_limited(quota, seconds).into_response();
                describe(&mut response, quota, 0, seconds);
            }
        }
        response
    }
}

/// The problem of a client that is over its limit for this many more seconds.
pub(crate) fn rate_limited(quota: Quota, seconds: u64) -> Problem {
    let detail = format!(
        "At most {} requests in {} seconds; try again in {seconds}.",
        quota.limit,
        quota.window.as_secs(),
    );
    Problem::new(Code::RateLimited, detail).with_retry_after(seconds)
}

fn describe(response: &mut Response, quota: Quota, remaining: u32, reset: u64) {
    let Quota { limit, window } = quota;
    let policy = format!("\"default\";q={limit};w={}", window.as_secs());
    let state = format!("\"default\";r={remaining};t={reset}");
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
        let value = HeaderValue::try_from(value).expect("digits and ASCII letters only");
        response.headers_mut().insert(name, value);
    }
}
