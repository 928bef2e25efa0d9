//! What a client asks of kvd over HTTP, and what it is told.

mod access;
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
mod tls;
mod tls_certificates;
mod together;
mod token_lookups;
mod totals;
mod values;

tests::topics! {
    access,
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
    tls,
    tls_certificates,
    together,
    token_lookups,
    totals,
    values,
}
