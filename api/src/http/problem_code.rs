//! The kinds of problems: the stable `code`, its status and its title.

use poem::http::StatusCode;

/// A problem type registered with IANA.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// The type of a problem that says no more than its status does.
const BLANK: &str = "about:blank";

/// What went wrong, as the stable member `code` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidRequest,
    InvalidKey,
    InvalidValue,
    Unauthenticated,
    Forbidden,
    ItemNotFound,
    RouteNotFound,
    MethodNotAllowed,
    RequestTimeout,
    KeyExists,
    BatchFailed,
    NotDone,
    PreconditionFailed,
    ValueTooLarge,
    UnsupportedMediaType,
    MisdirectedRequest,
    RateLimited,
    Internal,
    DatabaseRefused,
    NotImplemented,
    DatabaseUnavailable,
    Overloaded,
    OutcomeUnknown,
}

impl Code {
    /// Every code there is.
    pub const ALL: [Self; 23] = [
        Self::InvalidRequest,
        Self::InvalidKey,
        Self::InvalidValue,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::ItemNotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::KeyExists,
        Self::BatchFailed,
        Self::NotDone,
        Self::PreconditionFailed,
        Self::ValueTooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::RateLimited,
        Self::Internal,
        Self::DatabaseRefused,
        Self::NotImplemented,
        Self::DatabaseUnavailable,
        Self::Overloaded,
        Self::OutcomeUnknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::InvalidKey => "invalid-key",
            Self::InvalidValue => "invalid-value",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::ItemNotFound => "item-not-found",
            Self::RouteNotFound => "route-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::KeyExists => "key-exists",
            Self::BatchFailed => "batch-failed",
            Self::NotDone => "not-done",
            Self::PreconditionFailed => "precondition-failed",
            Self::ValueTooLarge => "value-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::MisdirectedRequest => "misdirected-request",
            Self::RateLimited => "rate-limited",
            Self::Internal => "internal",
            Self::DatabaseRefused => "database-refused",
            Self::NotImplemented => "not-implemented",
            Self::DatabaseUnavailable => "database-unavailable",
            Self::Overloaded => "overloaded",
            Self::OutcomeUnknown => "outcome-unknown",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::InvalidKey | Self::InvalidValue => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::ItemNotFound | Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::KeyExists | Self::BatchFailed => StatusCode::CONFLICT,
            Self::NotDone => StatusCode::FAILED_DEPENDENCY,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::ValueTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MisdirectedRequest => StatusCode::MISDIRECTED_REQUEST,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal | Self::DatabaseRefused => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::DatabaseUnavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The phrase of the status line, as RFC 9457 (4.2.1) has it for `about:blank`; else the type's own.
    pub fn title(self) -> &'static str {
        if self.type_uri() == BLANK {
            return phrase(self.status());
        }
        self.meaning()
    }

    /// What the code means: one sentence for people, the same every time.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is not valid",
            Self::InvalidKey => "The key is not valid",
            Self::InvalidValue => "The value is not valid",
            Self::Unauthenticated => "The request carries no token that is live",
            Self::Forbidden => "The token does not allow this",
            Self::ItemNotFound => "There is no item with this key",
            Self::RouteNotFound => "There is nothing at this path",
            Self::MethodNotAllowed => "The resource does not have this method",
            Self::RequestTimeout => "The body of the request did not come in time",
            Self::KeyExists => "The key exists already",
            Self::BatchFailed => "An operation of the batch cannot be done, so none was",
            Self::NotDone => "Another operation of the batch cannot be done, so this was not",
            Self::PreconditionFailed => "The precondition does not hold",
            Self::ValueTooLarge => "The value is too large",
            Self::UnsupportedMediaType => "The body must be application/json, and not encoded",
            Self::MisdirectedRequest => "kvd does not answer to this host",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Something went wrong in kvd",
            Self::DatabaseRefused => "The database refuses this",
            Self::NotImplemented => "kvd cannot do this",
            Self::DatabaseUnavailable => "The database is not available",
            Self::Overloaded => "kvd has too much to do",
            Self::OutcomeUnknown => "The outcome of the write is not known",
        }
    }

    /// The registered type where there is one; the others are told apart by `code`.
    pub fn type_uri(self) -> &'static str {
        match self {
            Self::RateLimited => QUOTA_EXCEEDED,
            _ => BLANK,
        }
    }

    /// Whether it is the same for a path of items as for any other, so that no cache may keep it.
    pub fn says_nothing_of_items(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::MisdirectedRequest
                | Self::RouteNotFound
                | Self::Unauthenticated
                | Self::Forbidden
        )
    }

    pub fn has_retry_after(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::DatabaseUnavailable | Self::Overloaded
        )
    }
}

/// What HTTP calls a status.
pub(super) fn phrase(status: StatusCode) -> &'static str {
    let phrase = status.canonical_reason();
    phrase.expect("kvd answers with registered statuses only")
}
