//! The committed OpenAPI document is the one that kvd serves: whoever changes the API sees it in
//! the diff.

use std::{collections::BTreeSet, env, fs, path::Path};

use api::{
    config::Config,
    database::Database,
    document::{document, service},
    items::Items,
    metrics::Metrics,
    operations::OPERATIONS,
    problem::Code,
};
use clap::Parser;
use serde_json::Value;

fn served() -> String {
    let config = Config::parse_from(["kvd", "--database-url", "sqlite://unused.db"]);
    let database = Database::new(&config, &Metrics::new()).expect("a database URL");
    document(&service(Items::new(database, &config), &config), &config)
}

#[test]
fn the_committed_document_is_the_served_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
    let served = served();
    if env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&path, &served).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "openapi.json is not what kvd serves; if the change is meant, run \
         UPDATE_OPENAPI=1 cargo test -p api --test document"
    );
}

#[test]
fn every_problem_of_an_operation_has_an_example() {
    let document: Value = serde_json::from_str(&served()).unwrap();
    for described in OPERATIONS {
        let operation = &document["paths"][described.path][described.method];
        for code in described.problems {
            let answer = &operation["responses"][code.status().as_str()];
            let example = &answer["content"]["application/problem+json"]["examples"][code.as_str()];
            assert_eq!(example["value"]["code"], code.as_str(), "{}", described.id);
        }
    }
}

#[test]
fn operations_have_ids_of_their_own() {
    let document: Value = serde_json::from_str(&served()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let ids: BTreeSet<_> = paths
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), OPERATIONS.len(), "{ids:?}");
}

#[test]
fn codes_are_unique_and_problems_say_their_status() {
    for code in Code::ALL {
        let same = Code::ALL
            .iter()
            .filter(|other| other.as_str() == code.as_str());
        assert_eq!(same.count(), 1, "{code:?}");
        let document = api::problem::Problem::example(code).document();
        let document: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["status"], code.status().as_u16());
    }
}
