//! The conformance suite: what the contract promises, sentence by sentence, on every engine.

use std::process::ExitCode;

mod adoption;
mod adoption_odd_keys;
mod adoption_refused;
mod bodies;
mod client_address;
mod configuration;
mod connections;
mod cursors;
mod dev;
mod explorer;
mod faults;
mod faults_down;
mod faults_frozen;
mod faults_killed;
mod faults_locks;
mod faults_refusals;
mod faults_sessions;
mod faults_slow;
mod faults_unknown;
mod floods;
mod foreign_tables;
mod history;
mod hostile;
mod interrupted;
mod items;
mod json;
mod keys;
mod kvctl;
mod kvctl_beside_kvd;
mod kvctl_delete;
mod kvctl_errors;
mod kvctl_export;
mod kvctl_get;
mod kvctl_import;
mod kvctl_inspect;
mod kvctl_interrupted;
mod kvctl_list;
mod kvctl_memory;
mod kvctl_put;
mod kvctl_seed;
mod kvctl_terminal;
mod kvctl_unreadable;
mod links;
mod logging;
mod metrics;
mod migrations;
mod operating;
mod operating_alerts;
mod operating_backup;
mod operating_fleet;
mod operating_haproxy;
mod operating_nginx;
mod operating_pgbouncer;
mod operating_pool;
mod operating_tls;
mod pages;
mod preconditions;
mod prefixes;
mod problems;
mod races;
mod rate_limit;
mod rate_limit_cost;
mod rate_limit_memory;
mod schema;
mod secrets;
mod service;
mod shutdown;
mod slow_readers;
mod together;
mod values;

fn main() -> ExitCode {
    let topics = [
        adoption::tests(),
        adoption_odd_keys::tests(),
        adoption_refused::tests(),
        bodies::tests(),
        client_address::tests(),
        configuration::tests(),
        connections::tests(),
        cursors::tests(),
        dev::tests(),
        explorer::tests(),
        faults_down::tests(),
        faults_frozen::tests(),
        faults_killed::tests(),
        faults_locks::tests(),
        faults_refusals::tests(),
        faults_sessions::tests(),
        faults_slow::tests(),
        faults_unknown::tests(),
        floods::tests(),
        foreign_tables::tests(),
        history::tests(),
        hostile::tests(),
        interrupted::tests(),
        items::tests(),
        json::tests(),
        keys::tests(),
        kvctl::tests(),
        kvctl_beside_kvd::tests(),
        kvctl_delete::tests(),
        kvctl_errors::tests(),
        kvctl_export::tests(),
        kvctl_get::tests(),
        kvctl_import::tests(),
        kvctl_inspect::tests(),
        kvctl_interrupted::tests(),
        kvctl_list::tests(),
        kvctl_memory::tests(),
        kvctl_put::tests(),
        kvctl_seed::tests(),
        kvctl_terminal::tests(),
        kvctl_unreadable::tests(),
        links::tests(),
        logging::tests(),
        metrics::tests(),
        migrations::tests(),
        operating_alerts::tests(),
        operating_backup::tests(),
        operating_fleet::tests(),
        operating_haproxy::tests(),
        operating_nginx::tests(),
        operating_pgbouncer::tests(),
        operating_pool::tests(),
        operating_tls::tests(),
        pages::tests(),
        preconditions::tests(),
        prefixes::tests(),
        problems::tests(),
        races::tests(),
        rate_limit::tests(),
        rate_limit_cost::tests(),
        rate_limit_memory::tests(),
        schema::tests(),
        secrets::tests(),
        service::tests(),
        shutdown::tests(),
        slow_readers::tests(),
        together::tests(),
        values::tests(),
    ];
    tests::suite::run(&topics.concat())
}
