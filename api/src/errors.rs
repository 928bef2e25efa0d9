//! The boundary behind which every error is a problem document, also those of the framework and
//! those of a panic.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use poem::{Endpoint, Error, IntoResponse, Request, Response, Result, error::NotFoundError};

use crate::{problem::Problem, request_id, resource::Resource};

pub struct Errors<E> {
    pub inner: E,
    pub resource: Resource,
}

impl<E: Endpoint<Output = Response>> Endpoint for Errors<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let request = match self.resource.check(request) {
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
    request_id::log(|| tracing::error!(%error, "framework"));
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use poem::{endpoint::make_sync, http::StatusCode};

    use super::*;
    use crate::items::Items;

    #[tokio::test]
    async fn a_panic_is_a_500_and_hurts_nobody_else() {
        let errors = Errors {
            inner: make_sync(|request| match request.uri().path() {
                "/livez" => StatusCode::OK.into_response(),
                path => panic!("no handler for {path}"),
            }),
            resource: Resource::of::<Items>(),
        };
        let ask = async |path: &'static str| {
            let request = Request::builder().uri_str(path).finish();
            errors.call(request).await.unwrap()
        };
        let answer = ask("/metrics").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = answer.into_body().into_string().await.unwrap();
        assert!(text.contains("\"code\":\"internal\""), "{text}");
        assert!(!text.contains("no handler"), "{text}");
        assert_eq!(ask("/livez").await.status(), StatusCode::OK);
    }
}
