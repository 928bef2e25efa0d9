//! Lets in only who may: asks for a token (401), and whether its rules allow the key or prefix of the request (403).
//!
//! What is in a body is checked by the operation that reads it.

use entity::{Prefix, token::Access};
use poem::{Endpoint, IntoResponse, Request, Response, Result, http::Method};

use super::{
    credentials::bearer,
    granted::{Granted, forbidden, unauthenticated},
    known_tokens::{KnownTokens, Lane},
};
use crate::http::{Arrival, Problem, Route, path_key, problem_of, unchecked_value};

pub(crate) struct Guard<E> {
    pub inner: E,
    /// `None` with `AUTH=off`.
    pub tokens: Option<KnownTokens>,
}

impl<E: Endpoint<Output = Response>> Endpoint for Guard<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        match self.grant(&request).await {
            Ok(granted) => {
                // Of the others the key or prefix is checked already.
                let route = Arrival::of(&request).route;
                if matches!(route, Route::Items | Route::Batch | Route::Whoami) {
                    request.set_data(granted);
                }
                self.inner.call(request).await
            }
            Err(problem) => Ok(problem.into_response()),
        }
    }
}

impl<E> Guard<E> {
    async fn grant(&self, request: &Request) -> Result<Granted, Problem> {
        let Arrival {
            route, deadline, ..
        } = Arrival::of(request);
        let Some(tokens) = self.tokens.as_ref().filter(|_| route.needs_token()) else {
            return Ok(Granted::Everything);
        };
        let secret = bearer(request.headers()).ok_or_else(unauthenticated)?;
        let token = match tokens.recall(&secret) {
            Some(token) => token,
            // Boxed, since it is rare and large.
            None => Box::pin(tokens.look_up(&secret, lane(route), deadline))
                .await
                .map_err(|error| problem_of(&error))?,
        };
        let granted = Granted::Token(token.ok_or_else(unauthenticated)?);
        check_place(route, request, &granted)?;
        Ok(granted)
    }
}

fn lane(route: Route) -> Lane {
    match route.is_limited() {
        true => Lane::Counted,
        false => Lane::Uncounted,
    }
}

/// Whether it may do this with the key in the path, or with the prefix in the query.
fn check_place(route: Route, request: &Request, granted: &Granted) -> Result<(), Problem> {
    let access = match *request.method() {
        Method::GET | Method::HEAD => Access::Read,
        _ => Access::Write,
    };
    match route {
        Route::Item => granted.check_key(access, &path_key(request)?),
        Route::Items if access == Access::Read => {
            // One that cannot be read is refused as a parameter, if everything may be read.
            let query = request.uri().query().unwrap_or_default();
            let text = unchecked_value(query, "prefix").unwrap_or_default();
            let prefix = Prefix::new(text).unwrap_or_default();
            granted.check_prefix(access, &prefix)
        }
        Route::Metrics => granted
            .check_prefix(Access::Read, &Prefix::default())
            .map_err(|_| forbidden()),
        _ => Ok(()),
    }
}
