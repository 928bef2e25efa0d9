//! The boundary outside which every error is a problem document, also an error of the framework and a
//! panic.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use poem::{Endpoint, Error, IntoResponse, Request, Response, Result, error::NotFoundError};

use super::{problem::Problem, request_check::RequestCheck};
use crate::telemetry::{about_request, target};

pub(crate) struct CatchErrors<E> {
    pub inner: E,
    pub check: Arc<RequestCheck>,
}

impl<E: Endpoint<Output = Response>> Endpoint for CatchErrors<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let request = match self.check.check_method(request) {
            Ok(request) => request,
            Err(problem) => return Ok(problem.into_response()),
        };
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Ok(match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => problem_response(error),
            // The panic hook has logged it.
            Err(_) => Problem::internal().into_response(),
        })
    }
}

fn problem_response(error: Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    if error.is::<NotFoundError>() {
        return Problem::route_not_found().into_response();
    }
    if error.status().is_client_error() {
        return Problem::invalid("The request cannot be read.").into_response();
    }
    about_request(|| tracing::error!(target: target::FRAMEWORK, %error, "framework"));
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use poem::{endpoint::make_sync, http::StatusCode};

    use super::*;
    use crate::http::{arrival::Arrival, route::Route};

    #[tokio::test]
    async fn a_panic_is_a_500_and_hurts_no_other_request() {
        let errors = CatchErrors {
            inner: make_sync(|request| match request.uri().path() {
                "/livez" => StatusCode::OK.into_response(),
                path => panic!("no handler for {path}"),
            }),
            check: Arc::new(RequestCheck::of::<()>(vec![Route::Livez, Route::Metrics])),
        };
        let ask = async |path: &'static str| errors.call(Arrival::at(path)).await.unwrap();
        let answer = ask("/metrics").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = answer.into_body().into_string().await.unwrap();
        assert!(text.contains("\"code\":\"internal\""), "{text}");
        assert!(!text.contains("no handler"), "{text}");
        assert_eq!(ask("/livez").await.status(), StatusCode::OK);
    }
}
