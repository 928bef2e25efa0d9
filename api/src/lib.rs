//! `kvd`, a key-value REST service on the SQL database its users already run.
//!
//! Read in this order: [`config`] (the settings), [`run`] (how it starts and ends), [`server`] and
//! [`connection`] (sockets; a connection is [`mod@repoll`]ed), [`routes`] (every URL, and the middleware from the outside in:
//! [`observe`] with [`request_id`], [`drain`], [`rate_limit`], [`errors`] with [`resource`]), [`items`] (the handlers).
//!
//! What a handler takes: [`params`] with [`precondition`], and [`json`]. What it calls:
//! [`database`]: [`reads`] and [`writes`], which [`gather`] sends together, with [`key_queues`], and
//! [`lists`] in bounded [`room`]. What it answers: [`answers`] and [`pages`], or a [`problem`] with its
//! [`code`]. [`operations`] lists the problems of each operation,
//! [`document`] describes it all, and [`explorer`] shows it. Beside the items: [`health`],
//! [`metrics`], [`telemetry`] with [`repeats`] and [`outage`].

pub mod answers;
pub mod client_ip;
pub mod code;
pub mod config;
pub mod connection;
pub mod database;
pub mod document;
pub mod drain;
pub mod errors;
pub mod explorer;
pub mod gather;
pub mod health;
pub mod items;
pub mod json;
pub mod key_queues;
pub mod lists;
pub mod metrics;
pub mod observe;
pub mod operations;
pub mod outage;
pub mod pages;
pub mod params;
pub mod precondition;
pub mod problem;
pub mod rate_limit;
pub mod reads;
pub mod repeats;
pub mod repoll;
pub mod request_id;
pub mod resource;
pub mod room;
pub mod routes;
pub mod run;
pub mod server;
pub mod telemetry;
pub mod writes;
