//! The answer of an operation that did not succeed, and what the document says about it.

use std::marker::PhantomData;

use poem::http::Method;
use poem_openapi::{
    ApiResponse,
    registry::{
        MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
    },
    types::Type,
};

use super::{
    problem::{Problem, ProblemBody},
    problem_code::Code,
    route::Route,
};

/// An operation of the document.
pub trait Operation: Send + Sync + 'static {
    /// What it can answer instead of success, by status.
    const PROBLEMS: &'static [Code];
}

/// An operation as the document finds it.
///
/// Its id stands here and not with its handler, since the framework would write it into each answer.
pub(crate) struct Described {
    pub route: Route,
    pub method: Method,
    pub id: &'static str,
    pub problems: &'static [Code],
}

/// The answer of an operation that did not succeed.
pub struct Failed<O>(Problem, PhantomData<O>);

impl<O> From<Problem> for Failed<O> {
    fn from(problem: Problem) -> Self {
        Self(problem, PhantomData)
    }
}

impl<O> From<Failed<O>> for poem::Error {
    fn from(Failed(problem, _): Failed<O>) -> Self {
        problem.into()
    }
}

impl<O: Operation> ApiResponse for Failed<O> {
    fn meta() -> MetaResponses {
        let mut responses: Vec<MetaResponse> = Vec::new();
        for code in O::PROBLEMS {
            let status = Some(code.status().as_u16());
            if !responses.iter().any(|response| response.status == status) {
                responses.push(response(*code));
            }
        }
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

/// The first code of a status speaks for it; the document's examples show them all.
fn response(code: Code) -> MetaResponse {
    MetaResponse {
        description: code.meaning(),
        status: Some(code.status().as_u16()),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: "application/problem+json",
            schema: ProblemBody::schema_ref(),
        }],
        headers: headers(code),
    }
}

/// The headers that only answers of this code have.
fn headers(code: Code) -> Vec<MetaHeader> {
    let mut headers = Vec::new();
    if code.has_retry_after() {
        headers.push(header(
            "Retry-After",
            "Seconds to wait.",
            MetaSchema::new("integer"),
        ));
    }
    if code == Code::Unauthenticated {
        let description = "How to send a token: `Bearer`.";
        headers.push(header(
            "WWW-Authenticate",
            description,
            MetaSchema::new("string"),
        ));
    }
    if code == Code::PreconditionFailed {
        let description = "The current tag of the item, in quotes, if there is one.";
        headers.push(MetaHeader {
            required: false,
            ..header("ETag", description, MetaSchema::new("string"))
        });
    }
    if code == Code::UnsupportedMediaType {
        let description =
            "With a body that has a `Content-Encoding`: the coding that is understood.";
        headers.push(MetaHeader {
            required: false,
            ..header("Accept-Encoding", description, MetaSchema::new("string"))
        });
    }
    headers
}

fn header(name: &str, description: &str, schema: MetaSchema) -> MetaHeader {
    MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(schema)),
    }
}
