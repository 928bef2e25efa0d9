//! Which problems each operation can answer, once, for the code and for the document.

use std::marker::PhantomData;

use poem_openapi::{
    ApiResponse,
    registry::{
        MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
    },
    types::Type,
};

use crate::{
    answers::ProblemBody,
    problem::{Code, Problem},
};

/// An operation of the document.
pub trait Operation: Send + Sync + 'static {
    /// What it can answer instead of success, by status.
    const PROBLEMS: &'static [Code];
}

/// An operation as the document finds it.
///
/// Its id stands here and not with its handler, since the framework would write it into each answer.
pub struct Described {
    pub path: &'static str,
    pub method: &'static str,
    pub id: &'static str,
    pub problems: &'static [Code],
}

macro_rules! operations {
    ($($name:ident $path:literal $method:literal $id:literal [$($code:ident),*])*) => {
        $(
            pub struct $name;

            impl Operation for $name {
                const PROBLEMS: &'static [Code] = &[$(Code::$code),*];
            }
        )*

        pub const OPERATIONS: &[Described] = &[$(Described {
            path: $path,
            method: $method,
            id: $id,
            problems: $name::PROBLEMS,
        }),*];
    };
}

operations! {
    CreateItem "/items/" "post" "create_item" [
        InvalidRequest, InvalidKey, InvalidValue, RequestTimeout, KeyExists, ValueTooLarge,
        UnsupportedMediaType, RateLimited, Internal, DatabaseUnavailable, Overloaded, OutcomeUnknown
    ]
    GetItem "/items/{key}" "get" "get_item" [
        InvalidRequest, InvalidKey, ItemNotFound, PreconditionFailed, RateLimited, Internal,
        DatabaseUnavailable, Overloaded
    ]
    UpdateItem "/items/{key}" "put" "update_item" [
        InvalidRequest, InvalidKey, InvalidValue, ItemNotFound, RequestTimeout, PreconditionFailed,
        ValueTooLarge, UnsupportedMediaType, RateLimited, Internal, DatabaseUnavailable, Overloaded,
        OutcomeUnknown
    ]
    DeleteItem "/items/{key}" "delete" "delete_item" [
        InvalidRequest, InvalidKey, ItemNotFound, PreconditionFailed, RateLimited, Internal,
        DatabaseUnavailable, Overloaded, OutcomeUnknown
    ]
    ListItems "/items/" "get" "list_items" [
        InvalidRequest, RateLimited, Internal, DatabaseUnavailable, Overloaded
    ]
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
    let mut headers = Vec::new();
    if code.has_retry_after() {
        headers.push(header(
            "Retry-After",
            "Seconds to wait.",
            MetaSchema::new("integer"),
        ));
    }
    if code == Code::PreconditionFailed {
        let description = "The current tag of the item, in quotes, if there is one.";
        headers.push(MetaHeader {
            required: false,
            ..header("ETag", description, MetaSchema::new("string"))
        });
    }
    MetaResponse {
        description: code.title(),
        status: Some(code.status().as_u16()),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: "application/problem+json",
            schema: ProblemBody::schema_ref(),
        }],
        headers,
    }
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
