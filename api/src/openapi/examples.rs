//! A problem of each kind, as a client may see it.

use std::time::Duration;

use entity::{ETag, InvalidKey, InvalidValue};
use poem::http::Method;

use crate::{
    auth::{forbidden, unauthenticated},
    http::{Code, Problem, method_not_allowed, misdirected, problem_of},
    items::{item_not_found, key_exists, not_done, precondition_failed},
    rate_limit::{Quota, rate_limited},
    store::Error,
};

pub(super) fn example(code: Code) -> Problem {
    let detail = match code {
        Code::Unauthenticated => return unauthenticated(),
        Code::Forbidden => return forbidden(),
        Code::ItemNotFound => return item_not_found(),
        Code::RouteNotFound => return Problem::route_not_found(),
        Code::KeyExists => return key_exists(),
        Code::BatchFailed => {
            let results = [not_done(), key_exists()].map(Into::into);
            let detail = "operations[1] cannot be done; nothing was written.";
            return Problem::new(code, detail).with_results(results.into());
        }
        Code::NotDone => return not_done(),
        Code::PreconditionFailed => return precondition_failed(Some(ETag { id: 17, version: 4 })),
        Code::RateLimited => {
            let window = Duration::from_mins(1);
            return rate_limited(Quota { limit: 60, window }, 42);
        }
        Code::MisdirectedRequest => return misdirected("kvd.example.com"),
        Code::Internal => return Problem::internal(),
        Code::DatabaseRefused => return problem_of(&Error::Ignored),
        Code::DatabaseUnavailable => return problem_of(&Error::Silent),
        Code::Overloaded => return problem_of(&Error::Overloaded),
        Code::OutcomeUnknown => return problem_of(&Error::Unknown(None)),
        Code::MethodNotAllowed => return method_not_allowed(&[Method::GET, Method::HEAD]),
        Code::InvalidKey => return InvalidKey::Dots.into(),
        Code::InvalidValue => return InvalidValue::Nul.into(),
        Code::ValueTooLarge => {
            let (bytes, max) = (300_000, 262_144);
            return InvalidValue::TooLarge { bytes, max }.into();
        }
        Code::InvalidRequest => "There is no query parameter \"prefx\" here.",
        Code::NotImplemented => "Of the transfer codings there is only chunked here.",
        Code::RequestTimeout => "It must come within 5s.",
        Code::UnsupportedMediaType => "Send it with Content-Type: application/json.",
    };
    Problem::new(code, detail)
}
