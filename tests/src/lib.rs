//! What the end-to-end tests stand on: real database servers, a database of its own for each test,
//! the real `kvd` and `kvctl`, and clients that speak to them.
//!
//! * [`suite`] runs a list of tests on each chosen engine and says what was tested
//! * [`slowest`] names the tests that took longest
//! * [`mod@env`] is what a test is given: its database, its directory, its processes
//! * [`binaries`] builds and finds what is tested
//! * [`kvd`] and [`kvctl`] drive the two binaries, [`terminal`] gives kvctl a pseudo-terminal
//! * [`client`] asks kvd over HTTP, [`wire`] over a bare socket, byte for byte; both give an [`answer`]
//! * [`browser`] is a real one without a network, for the explorer
//! * [`engine`], [`server`] and [`database`] choose, start and fill the database servers
//! * [`load`] is many clients at once, each of which keeps what it was told
//! * [`program`] starts a program of others, such as a proxy, with what the [`handbook`] shows
//! * [`mod@openssl`] makes certificates, and [`certified`] a kvd with one
//! * [`mod@token`] makes tokens up, [`tls`] is a client with certificates
//! * [`relay`] stands between kvd and its database, and counts; [`server`] can also be broken
//! * [`history`] judges whether what the clients of a key were told can be true
//! * [`pace`] is time as this machine can keep it: how long a test waits, and what it may take
//! * [`secrets`] looks through all that the programs tell
//! * [`process`] starts programs so that none outlives the tests
//!
//! A test is a function of a topic module, named by a sentence of the contract and listed at the module's head:
//!
//! ```ignore
//! tests::list! {
//!     EveryEngine => a_key_is_created_once;
//!     Once => a_bad_flag_is_exit_code_2;
//!     Only(Engine::Postgres) => a_hand_made_table_is_adopted;
//!     Faults => a_database_that_is_down_is_503
//! }
//!
//! async fn a_key_is_created_once(env: Env) {
//!     let kvd = env.kvd().arg("--max-value-bytes", "10").start().await; // or: env.start().await
//!     let _created = kvd.post("a", "b").await.expect(201);
//!     kvd.post("a", "b").await.problem(409, "key-exists");
//!     let _read = env.kvctl(["get", "a"]).await.expect(0);
//! }
//! ```

pub mod answer;
pub mod binaries;
pub mod browser;
pub mod certified;
pub mod client;
mod collected;
pub mod database;
#[cfg(test)]
mod documents;
pub mod engine;
pub mod env;
pub mod handbook;
pub mod history;
pub mod kvctl;
pub mod kvd;
pub mod load;
pub mod openssl;
pub mod pace;
pub mod process;
pub mod program;
pub mod relay;
pub mod secrets;
pub mod server;
pub mod slowest;
mod stage;
pub mod suite;
pub mod terminal;
pub mod tls;
pub mod token;
pub mod wire;

pub use answer::Answer;
pub use client::{Client, item};
pub use engine::Engine;
pub use env::Env;
pub use kvd::Kvd;
pub use wire::Wire;
