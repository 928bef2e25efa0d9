//! What a client asks of kvd over HTTP, and what it is told.

mod access;
pub(crate) mod batch;
mod batch_atomic;
mod batch_mistakes;
mod batch_races;
mod batch_rules;
mod batch_singles;
mod bodies;
mod body_headers;
mod client_address;
mod cursors;
pub(crate) mod expiry;
mod expiry_model;
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
mod removal;
mod service;
mod tls;
mod tls_certificates;
mod together;
mod token_lookups;
mod totals;
mod values;

tests::topics! {
    access,
    batch,
    batch_atomic,
    batch_mistakes,
    batch_races,
    batch_rules,
    batch_singles,
    bodies,
    body_headers,
    client_address,
    cursors,
    expiry,
    expiry_model,
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
    removal,
    service,
    tls,
    tls_certificates,
    together,
    token_lookups,
    totals,
    values,
}
