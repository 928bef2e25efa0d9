//! What a request may do.

use std::sync::Arc;

use crate::http::{Code, Problem};
use entity::{
    Key, Prefix,
    token::{Access, FoundToken},
};

/// What the sender of a request may do: everything, with `AUTH=off`, or what its token allows.
#[derive(Clone, Debug)]
pub(crate) enum Granted {
    Everything,
    Token(Arc<FoundToken>),
}

impl Granted {
    /// # Errors
    /// 403, the same whether there is such an item or not.
    pub(crate) fn check_key(&self, access: Access, key: &Key) -> Result<(), Problem> {
        self.check(|token| token.rules.allow(access, key))
    }

    /// # Errors
    /// 403, if it is not allowed for every key of the prefix.
    pub(crate) fn check_prefix(&self, access: Access, prefix: &Prefix) -> Result<(), Problem> {
        self.check(|token| token.rules.allow_prefix(access, prefix))
            .map_err(|_| {
                Problem::new(
                    Code::Forbidden,
                    format!("{FORBIDDEN} A list needs a prefix inside one of its rules."),
                )
            })
    }

    fn check(&self, allows: impl FnOnce(&FoundToken) -> bool) -> Result<(), Problem> {
        match self {
            Self::Everything => Ok(()),
            Self::Token(token) if allows(token) => Ok(()),
            Self::Token(_) => Err(forbidden()),
        }
    }
}

const FORBIDDEN: &str = "The token does not allow this; GET /whoami tells what it does.";

pub(crate) fn forbidden() -> Problem {
    Problem::new(Code::Forbidden, FORBIDDEN)
}

pub(crate) fn unauthenticated() -> Problem {
    let detail =
        "Send a token that is live, neither ended nor revoked: Authorization: Bearer kvd_….";
    Problem::new(Code::Unauthenticated, detail)
}
