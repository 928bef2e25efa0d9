//! The resources of kvd, by their paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986.
pub(crate) const UNRESERVED_ONLY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The resources of kvd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    Items,
    Item,
    Batch,
    /// A path below the items that names none.
    BelowItems,
    Whoami,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
    Docs,
    Root,
    Unknown,
}

impl Route {
    /// The resource at a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/items" | "/items/" => Self::Items,
            "/batch" => Self::Batch,
            "/whoami" => Self::Whoami,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::OpenApi,
            "/docs" => Self::Docs,
            "/" => Self::Root,
            _ if Self::key(path).is_some() => Self::Item,
            _ if path.starts_with("/items/") => Self::BelowItems,
            _ => Self::Unknown,
        }
    }

    /// The key in the path of an item, as it is encoded there.
    pub(crate) fn key(path: &str) -> Option<&str> {
        let key = path.strip_prefix("/items/")?;
        (!key.is_empty() && !key.contains('/')).then_some(key)
    }

    /// The path of the item with this key.
    pub(crate) fn location(key: &str) -> String {
        format!("/items/{}", utf8_percent_encode(key, UNRESERVED_ONLY))
    }

    /// Its path as the document writes it; what logs and metrics say instead of the raw path.
    pub(crate) fn template(self) -> &'static str {
        match self {
            Self::Items => "/items/",
            Self::Item => "/items/{key}",
            Self::Batch => "/batch",
            Self::Whoami => "/whoami",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Docs => "/docs",
            Self::Root => "/",
            Self::BelowItems | Self::Unknown => "unknown",
        }
    }

    /// Whether it has the operations of the document.
    pub(crate) fn has_operations(self) -> bool {
        self.is_of_items() || self == Self::Whoami
    }

    /// Whether its answers are about items.
    pub(crate) fn is_of_items(self) -> bool {
        matches!(self, Self::Items | Self::Item | Self::Batch)
    }

    /// Whether a request needs a token, where tokens are asked for.
    pub(crate) fn needs_token(self) -> bool {
        matches!(
            self,
            Self::Items | Self::Item | Self::Batch | Self::Whoami | Self::Metrics
        )
    }

    /// Whether the limiter counts its requests, whatever the answer.
    pub(crate) fn is_limited(self) -> bool {
        matches!(
            self,
            Self::Items | Self::Item | Self::Batch | Self::BelowItems | Self::Whoami
        )
    }
}
