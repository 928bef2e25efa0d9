//! The limiter in the path of a request, and what it tells the client.
//!
//! Header fields: the IETF draft *RateLimit header fields for HTTP*, revision 11; `Retry-After`:
//! RFC 9110.

use std::sync::Arc;

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderName, HeaderValue},
};
use prometheus::IntCounter;

use super::{
    RateLimiter,
    window::{Decision, Quota, seconds_up},
};
use crate::{
    client_ip::client_network,
    problem::Problem,
    routes::{ClientAddress, Route},
};

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Asks the limiter about requests to `/items` and everything below it.
pub struct RateLimit<E> {
    pub inner: E,
    /// `None` if the limiter is turned off.
    pub limiter: Option<Arc<RateLimiter>>,
    /// By decision.
    pub admitted: IntCounter,
    pub refused: IntCounter,
}

impl<E: Endpoint<Output = Response>> Endpoint for RateLimit<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let limiter = match &self.limiter {
            Some(limiter) if Route::is_limited(request.uri().path()) => limiter,
            _ => return self.inner.call(request).await,
        };
        let client = request
            .data::<ClientAddress>()
            .map(|address| client_network(address.0))
            .expect("the outer middleware sets the address of the client");
        let quota = limiter.quota();
        match limiter.admit(client) {
            Decision::Admitted { remaining, reset } => {
                self.admitted.inc();
                let mut response = self.inner.call(request).await?;
                describe(&mut response, quota, remaining, seconds_up(reset));
                Ok(response)
            }
            Decision::Refused { retry_after } => {
                self.refused.inc();
                let seconds = seconds_up(retry_after).max(1);
                let mut response = Problem::rate_limited(quota, seconds).into_response();
                describe(&mut response, quota, 0, seconds);
                Ok(response)
            }
        }
    }
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
