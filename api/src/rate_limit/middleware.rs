//! The limiter in the path of a request, and what it tells the client.
//!
//! Header fields: the IETF draft *RateLimit header fields for HTTP*, revision 11; `Retry-After`:
//! RFC 9110.

use std::sync::Arc;

use poem::{
    Endpoint, IntoResponse, Request, Response,
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

/// Asks the limiter about requests to `/items`, everything below it and `/whoami`, and counts those that are 401.
pub(crate) struct RateLimit<E> {
    pub inner: E,
    /// `None` if the limiter is turned off.
    pub limiter: Option<Arc<RateLimiter>>,
    pub metrics: LimiterMetrics,
}

impl<E: Endpoint<Output = Response>> Endpoint for RateLimit<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let arrival = Arrival::of(&request);
        let Some(limiter) = &self.limiter else {
            return self.inner.call(request).await;
        };
        if arrival.route.is_limited() {
            return match self.admit(limiter, arrival) {
                Ok(left) => Ok(left.described(self.inner.call(request).await?)),
                Err(left) => Ok(left.refusal()),
            };
        }
        let response = self.inner.call(request).await?;
        // Who tries tokens is held to the limit wherever that is.
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        Ok(match self.admit(limiter, arrival) {
            Ok(left) => left.described(response),
            Err(left) => left.refusal(),
        })
    }
}

impl<E> RateLimit<E> {
    /// Counts the request; an error if it is refused.
    fn admit(&self, limiter: &RateLimiter, arrival: Arrival) -> Result<Left, Left> {
        let quota = limiter.quota();
        match limiter.admit(client_network(arrival.client)) {
            Decision::Admitted { remaining, reset } => {
                self.metrics.admitted.inc();
                Ok(Left {
                    quota,
                    remaining,
                    reset: seconds_up(reset),
                })
            }
            Decision::Refused { retry_after } => {
                self.metrics.refused.inc();
                Err(Left {
                    quota,
                    remaining: 0,
                    reset: seconds_up(retry_after).max(1),
                })
            }
        }
    }
}

/// What is left of a client's quota.
struct Left {
    quota: Quota,
    remaining: u32,
    /// Seconds until the oldest counted request leaves the window.
    reset: u64,
}

impl Left {
    fn refusal(self) -> Response {
        let refusal = rate_limited(self.quota, self.reset).into_response();
        self.described(refusal)
    }

    /// The answer with the header fields that tell it.
    fn described(self, mut response: Response) -> Response {
        let Quota { limit, window } = self.quota;
        let policy = format!("\"default\";q={limit};w={}", window.as_secs());
        let state = format!("\"default\";r={};t={}", self.remaining, self.reset);
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            let value = HeaderValue::try_from(value).expect("digits and ASCII letters only");
            response.headers_mut().insert(name, value);
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
