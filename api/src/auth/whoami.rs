//! Who the sender of a request is, as a client may ask.

use entity::{
    Time,
    token::{Access, FoundToken},
};
use poem::{http::Method, web::Data};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Tags};
use sea_orm::entity::prelude::DateTimeUtc;
use serde::Serialize;

use super::granted::Granted;
use crate::http::{Code, Described, Failed, JsonText, Operation, Route};

/// Under which name the operation stands in the document.
#[derive(Tags)]
enum AccessTag {
    Access,
}

/// The operation.
pub(crate) struct Whoami;

impl Operation for Whoami {
    const PROBLEMS: &'static [Code] = &[
        Code::InvalidRequest,
        Code::Unauthenticated,
        Code::MisdirectedRequest,
        Code::RateLimited,
        Code::Internal,
        Code::DatabaseRefused,
        Code::DatabaseUnavailable,
        Code::Overloaded,
    ];
}

pub(crate) const WHOAMI: Described = Described {
    route: Route::Whoami,
    method: Method::GET,
    id: "whoami",
    problems: Whoami::PROBLEMS,
};

#[OpenApi(tag = "AccessTag::Access")]
impl Whoami {
    /// Tell what the token allows
    ///
    /// The name, the rules and the end of the token that was sent; where kvd asks for none (`AUTH=off`), that
    /// everything may be written.
    #[oai(path = "/whoami", method = "get")]
    async fn whoami(&self, Data(granted): Data<&Granted>) -> Result<Told, Failed<Self>> {
        let identity = match granted {
            Granted::Everything => Identity::anybody(),
            Granted::Token(token) => Identity::of(token),
        };
        Ok(Told::Told(JsonText::new(&identity, None)))
    }
}

#[derive(ApiResponse)]
enum Told {
    /// What the sender may do.
    #[oai(status = 200)]
    Told(JsonText<Identity>),
}

/// What the sender of a request may do.
#[derive(Debug, Serialize, Object)]
struct Identity {
    /// The name of the token; `null` where none is asked for.
    name: Option<String>,
    /// What one of them allows is allowed.
    rules: Vec<IdentityRule>,
    /// When the token ends: RFC 3339, UTC, microseconds; `null`: never.
    #[serde(serialize_with = "microseconds")]
    expires_at: Option<DateTimeUtc>,
}

/// Allows an access to all keys that begin with a prefix.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Rule")]
struct IdentityRule {
    /// The empty one is of every key.
    prefix: String,
    access: IdentityAccess,
}

/// What may be done; `write` includes `read`.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "lowercase")]
#[oai(rename = "Access", rename_all = "lowercase")]
enum IdentityAccess {
    Read,
    Write,
}

impl Identity {
    fn anybody() -> Self {
        Self {
            name: None,
            rules: vec![IdentityRule {
                prefix: String::new(),
                access: IdentityAccess::Write,
            }],
            expires_at: None,
        }
    }

    fn of(token: &FoundToken) -> Self {
        let rules = token.rules.iter().map(|rule| IdentityRule {
            prefix: rule.prefix.as_str().to_owned(),
            access: match rule.access {
                Access::Read => IdentityAccess::Read,
                Access::Write => IdentityAccess::Write,
            },
        });
        Self {
            name: Some(token.name.clone()),
            rules: rules.collect(),
            expires_at: token.expires_at.map(Into::into),
        }
    }
}

fn microseconds<S: serde::Serializer>(
    time: &Option<DateTimeUtc>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(&Time::from(*time)),
        None => to.serialize_none(),
    }
}
