//! What a newcomer, a load balancer and a scraper ask for.

use std::collections::BTreeSet;

use tests::Env;

tests::list! {
    EveryEngine =>
        livez_and_readyz_are_200_on_a_migrated_database,
        readyz_is_503_and_says_why_until_migrated,
        a_newer_migration_does_not_hinder_readiness;
    Once =>
        the_root_leads_to_the_explorer,
        the_openapi_document_names_the_operations,
        head_is_answered_beside_items_too,
        only_answers_about_items_and_the_explorer_are_no_cache
}

async fn livez_and_readyz_are_200_on_a_migrated_database(env: Env) {
    let kvd = env.start().await;
    let _live = kvd.get("/livez").await.expect(200);
    let _ready = kvd.get("/readyz").await.expect(200);
}

async fn readyz_is_503_and_says_why_until_migrated(env: Env) {
    let database = env.empty_database().await;
    let kvd = env.kvd_on(&database).start().await;
    let answer = kvd.get("/readyz").await.expect(503);
    assert!(answer.text().contains("migrat"), "{}", answer.text());
    let _live = kvd.get("/livez").await.expect(200);

    let _migrated = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    kvd.ready().await;
}

async fn a_newer_migration_does_not_hinder_readiness(env: Env) {
    let columns = "version, applied_at";
    let sql = format!(
        "INSERT INTO kvd_migrations ({columns}) SELECT 'm99991231_235959_newer', applied_at FROM kvd_migrations LIMIT 1"
    );
    assert_eq!(env.database().execute(&sql).await, 1);
    let kvd = env.start().await;
    let _ready = kvd.get("/readyz").await.expect(200);
    let _created = kvd.create("a", "b").await;
}

async fn the_root_leads_to_the_explorer(env: Env) {
    let kvd = env.start().await;
    let root = kvd.get("/").await;
    assert!(
        matches!(root.status, 301 | 302 | 303 | 307 | 308),
        "{}",
        root.status
    );
    assert_eq!(root.header("location"), Some("/docs"));
    let docs = kvd.get("/docs").await.expect(200);
    assert!(
        docs.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
}

async fn the_openapi_document_names_the_operations(env: Env) {
    let kvd = env.start().await;
    let answer = kvd.get("/openapi.json").await.expect(200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
    );
    let document = answer.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3."))
    );
    let paths = document["paths"].as_object().expect("paths");
    let operations: BTreeSet<&str> = paths
        .values()
        .filter_map(|path| path.as_object())
        .flat_map(|path| path.values())
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    for operation in [
        "create_item",
        "get_item",
        "update_item",
        "delete_item",
        "list_items",
    ] {
        assert!(
            operations.contains(operation),
            "{operation} in {operations:?}"
        );
    }
}

async fn head_is_answered_beside_items_too(env: Env) {
    let kvd = env.start().await;
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        let _head = kvd.head(path).await.expect(200);
    }
}

async fn only_answers_about_items_and_the_explorer_are_no_cache(env: Env) {
    let kvd = env.kvd().arg("--admin-listen", "127.0.0.1:0").start().await;
    let created = kvd.create("a", "b").await;
    let not_modified = kvd.get("/items/a").header("If-None-Match", &created.etag());
    let answers = [
        kvd.get("/items/a").await.expect(200),
        not_modified.await.expect(304),
        kvd.get("/items/").await.expect(200),
        kvd.put("/items/a", "c").await.expect(200),
        kvd.delete("/items/a").await.expect(204),
        kvd.delete("/items/a").await.expect(404),
        kvd.get("/docs").await.expect(200),
        kvd.head("/openapi.json").await.expect(200),
        created,
    ];
    for answer in answers {
        assert_eq!(
            answer.header("cache-control"),
            Some("no-cache"),
            "{}",
            answer.asked
        );
    }
    let admin = kvd.admin();
    let others = [
        admin.get("/livez").await.expect(200),
        admin.get("/readyz").await.expect(200),
        admin.get("/metrics").await.expect(200),
        admin.get("/items/").await.expect(404),
        kvd.get("/").await.expect(307),
        kvd.get("/livez").await.expect(404),
        kvd.delete("/docs").await.expect(405),
        kvd.get("/items/a/b").await.expect(404),
    ];
    for answer in others {
        let caching = answer.header("cache-control");
        assert_eq!(caching, Some("no-store"), "{}", answer.asked);
    }
}
