//! The tokens of kvd: who may do what with which keys. Only a hash of each is stored.
//!
//! - `secret`: the text that a client sends; `name`, and `rules`: what it allows.
//! - `stored`: the table. `find`: the look-up of a token that a client has sent. `manage`: create, list, revoke and rotate.

mod find;
mod manage;
mod name;
mod rules;
mod secret;
mod stored;

pub use self::{
    find::{FoundToken, find_token, probe},
    manage::{
        Created, ListedToken, NewToken, Revocable, Rotated, TokenState, create_token, list_tokens,
        revoke_token, rotate_token,
    },
    name::{InvalidTokenName, TokenName},
    rules::{Access, InvalidRules, Rule, Rules},
    secret::Secret,
    stored::Model,
};
