//! The table: made, changed, taken over from others, or refused.

mod expiry;
mod foreign_tables;
pub(crate) mod hand_made;
mod interrupted;
mod migrations;
mod odd_keys;
mod refused;
mod schema;

tests::topics! {
    expiry,
    foreign_tables,
    hand_made,
    interrupted,
    migrations,
    odd_keys,
    refused,
    schema,
}
