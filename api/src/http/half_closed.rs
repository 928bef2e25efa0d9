//! Requests whose clients have closed their sending side: how many are worked on, and how the others are refused.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use poem::{Endpoint, Request, Response, Result, http::Method};
use tokio::time::timeout_at;

use super::{
    arrival::Arrival, client_address::client_network, problem::Problem, problem_code::Code,
};
use crate::net::EndOfInput;

pub(crate) struct BoundHalfClosed<E> {
    pub inner: E,
    /// The part of a request's time that is left for doing it when it gets its turn last.
    pub margin: Duration,
}

impl<E: Endpoint<Output = Response>> Endpoint for BoundHalfClosed<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let arrival = Arrival::of(&request);
        let input = request.data::<EndOfInput>().cloned();
        let Some(input) = input.filter(|_| arrival.route.has_operations()) else {
            return self.inner.call(request).await;
        };
        let turn = input.turn(client_network(arrival.client));
        let Ok(_turn) = timeout_at(arrival.deadline - self.margin, turn).await else {
            return Err(overloaded().into());
        };
        let method = request.method().clone();
        let mut answer = pin!(self.inner.call(request));
        poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Pending => {
                poll_given_up(&input, &method, context).map(|problem| Err(problem.into()))
            }
            answered => answered,
        })
        .await
    }
}

/// Ready when the request is given up while it is worked on.
fn poll_given_up(input: &EndOfInput, method: &Method, context: &mut Context<'_>) -> Poll<Problem> {
    match input.is_given_up(context) {
        false => Poll::Pending,
        true if method.is_safe() => Poll::Ready(overloaded()),
        true => {
            let detail = "Too many requests wait whose clients have closed their sending side. The write may have been \
                          applied, or may still be. A retry with If-Match is safe.";
            Poll::Ready(Problem::new(Code::OutcomeUnknown, detail))
        }
    }
}

fn overloaded() -> Problem {
    let detail =
        "Too many requests wait whose clients have closed their sending side. Nothing was written.";
    Problem::new(Code::Overloaded, detail)
}
