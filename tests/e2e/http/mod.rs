//! What a client asks of kvd over HTTP, and what it is told.

mod bodies;
mod body_headers;
mod client_address;
mod cursors;
mod explorer;
pub(crate) mod foreign_rules;
mod half_closed;
mod hostile;
mod hosts;
mod items;
mod json;
mod keys;
mod links;
mod messages;
mod no_room;
mod pages;
mod percent;
mod preconditions;
mod prefixes;
mod problems;
mod races;
pub(crate) mod refused;
mod service;
mod together;
mod totals;
mod values;

tests::topics! {
    bodies,
    body_headers,
    client_address,
    cursors,
    explorer,
    foreign_rules,
    half_closed,
    hostile,
    hosts,
    items,
    json,
    keys,
    links,
    messages,
    no_room,
    pages,
    percent,
    preconditions,
    prefixes,
    problems,
    races,
    refused,
    service,
    together,
    totals,
    values,
}
