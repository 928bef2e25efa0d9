//! The operations on items: where each is, its id, and which problems it can answer; once, for the code
//! and for the document.

use poem::http::Method;
use poem_openapi::Tags;

use crate::http::{Code, Described, Operation, Route};

/// Under which name the operations stand in the document.
#[derive(Tags)]
pub(super) enum Tag {
    Items,
}

macro_rules! operations {
    ($($name:ident $route:ident $method:ident $id:literal [$($code:ident),*])*) => {
        $(
            pub(super) struct $name;

            impl Operation for $name {
                const PROBLEMS: &'static [Code] = &[$(Code::$code),*];
            }
        )*

        pub(crate) const OPERATIONS: &[Described] = &[$(Described {
            route: Route::$route,
            method: Method::$method,
            id: $id,
            problems: $name::PROBLEMS,
        }),*];
    };
}

operations! {
    CreateItem Items POST "create_item" [
        InvalidRequest, InvalidKey, InvalidValue, Unauthenticated, Forbidden, RequestTimeout, KeyExists,
        ValueTooLarge, UnsupportedMediaType, MisdirectedRequest, RateLimited, Internal, DatabaseRefused,
        DatabaseUnavailable, Overloaded, OutcomeUnknown
    ]
    GetItem Item GET "get_item" [
        InvalidRequest, InvalidKey, Unauthenticated, Forbidden, ItemNotFound, PreconditionFailed,
        MisdirectedRequest, RateLimited, Internal, DatabaseRefused, DatabaseUnavailable, Overloaded
    ]
    UpdateItem Item PUT "update_item" [
        InvalidRequest, InvalidKey, InvalidValue, Unauthenticated, Forbidden, ItemNotFound, RequestTimeout,
        PreconditionFailed, ValueTooLarge, UnsupportedMediaType, MisdirectedRequest, RateLimited, Internal,
        DatabaseRefused, DatabaseUnavailable, Overloaded, OutcomeUnknown
    ]
    DeleteItem Item DELETE "delete_item" [
        InvalidRequest, InvalidKey, Unauthenticated, Forbidden, ItemNotFound, PreconditionFailed,
        MisdirectedRequest, RateLimited, Internal, DatabaseRefused, DatabaseUnavailable, Overloaded,
        OutcomeUnknown
    ]
    Batch Batch POST "batch" [
        InvalidRequest, InvalidKey, InvalidValue, Unauthenticated, Forbidden, RequestTimeout, BatchFailed,
        ValueTooLarge, UnsupportedMediaType, MisdirectedRequest, RateLimited, Internal, DatabaseRefused,
        DatabaseUnavailable, Overloaded, OutcomeUnknown
    ]
    ListItems Items GET "list_items" [
        InvalidRequest, Unauthenticated, Forbidden, MisdirectedRequest, RateLimited, Internal,
        DatabaseRefused, DatabaseUnavailable, Overloaded
    ]
}
