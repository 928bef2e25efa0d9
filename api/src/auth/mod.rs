//! Who may do what: the token of a request, and what its rules allow.
//!
//! - `credentials`: the token that a request carries. `known_tokens`: what is remembered of it
//!   (`token_cache`), else what the database says.
//! - `guard`: the middleware that asks for it. `granted`: what the operations then know. `whoami`: the operation that
//!   tells it to the client.

mod credentials;
mod granted;
mod guard;
mod known_tokens;
mod token_cache;
mod whoami;

pub use self::{
    credentials::bearer,
    token_cache::{Recalled, TokenCache},
};
pub(crate) use self::{
    granted::{Granted, forbidden, unauthenticated},
    guard::Guard,
    known_tokens::KnownTokens,
    whoami::{WHOAMI, Whoami},
};
