//! What the document says of batches, beyond what the framework generates.

use serde_json::{Value, json};

use super::json_members::members;

/// The body with examples, and the schemas of operations and results.
pub(super) fn describe_batch(document: &mut Value) {
    let operation = &mut document["paths"]["/batch"]["post"];
    let body = &mut operation["requestBody"];
    let limits = "The body has at most 8 MiB.";
    let described = body["description"].as_str().unwrap_or_default();
    body["description"] = format!("{described} {limits}").into();
    body["content"]["application/json"]["examples"] = requests();
    for (status, results) in [("200", json!([created(), read()])), ("207", mixed())] {
        let answer = &mut operation["responses"][status]["content"]["application/json"];
        answer["example"] = json!({ "results": results });
    }
    for status in ["400", "413"] {
        let answer = &mut operation["responses"][status]["content"]["application/problem+json"];
        for (code, example) in members(&mut answer["examples"]) {
            let problem = &mut example["value"];
            let detail = match code.as_str() {
                "invalid-request" => "A get takes no ttl.",
                _ => problem["detail"].as_str().unwrap_or_default(),
            };
            problem["detail"] = format!("operations[1]: {detail}").into();
            problem["index"] = 1.into();
        }
    }
    describe_schemas(&mut document["components"]["schemas"]);
}

fn describe_schemas(schemas: &mut Value) {
    let rules = schemas["NewItem"]["properties"]["key"].clone();
    for rule in ["minLength", "maxLength", "pattern"] {
        schemas["Operation"]["properties"]["key"][rule] = rules[rule].clone();
    }
    schemas["Operation"]["example"] = put("hello/en", "hello");
    let read = json!({ "op": "get", "key": "hello/de" });
    let batch = &mut schemas["NewBatch"];
    batch["additionalProperties"] = false.into();
    batch["properties"]["atomic"]["nullable"] = true.into();
    batch["example"] = json!({ "operations": [put("hello/en", "hello"), read] });
    describe_conditions(&mut schemas["Operation"]["properties"]);
    // Generators make nothing of a reference among other rules.
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.remove("TagsMember");
    }
    let code = schemas["Problem"]["properties"]["code"].clone();
    for result in ["OperationResult", "FailedOperation"] {
        schemas[result]["properties"]["code"] = code.clone();
    }
    // Without a description of its own, since generators would make another item of it.
    schemas["OperationResult"]["properties"]["item"] =
        json!({ "$ref": "#/components/schemas/Item" });
    schemas["OperationResult"]["example"] = created();
    schemas["BatchResults"]["example"] = json!({ "results": mixed() });
    schemas["FailedOperation"]["example"] = exists();
}

fn describe_conditions(members: &mut Value) {
    for condition in ["if_match", "if_none_match"] {
        let description = members[condition]["description"].take();
        members[condition] = json!({
            "description": description,
            "oneOf": [
                { "type": "string", "minLength": 1, "nullable": true },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 100 },
            ],
        });
    }
}

/// A body for each operation, and for two that are done together or not at all. An explorer sends the first unless
/// somebody chooses another. It succeeds whatever items there are, and does not touch the keys of the other calls' examples.
fn requests() -> Value {
    let alone = |summary: &str, operation: Value| {
        let value = json!({ "operations": [operation] });
        json!({ "summary": summary, "value": value })
    };
    let create = json!({ "op": "create", "key": "hello/fr", "value": "bonjour", "ttl": 3600 });
    let compare_and_set = json!({ "op": "put", "key": "hello/en", "value": "hi", "if_match": "17-1", "keep_ttl": true });
    json!({
        "atomic": {
            "summary": "Both, or nothing",
            "value": { "atomic": true, "operations": [put("hello/en", "hello"), put("hello/de", "hallo")] },
        },
        "compare-and-set": alone("Overwrite a state that one has read", compare_and_set),
        "create": alone("Create, for an hour", create),
        "delete": alone("Delete", json!({ "op": "delete", "key": "hello/en" })),
        "get": alone("Read", json!({ "op": "get", "key": "hello/en" })),
        "put": alone("Create or overwrite", put("hello/en", "hello")),
    })
}

fn put(key: &str, value: &str) -> Value {
    json!({ "op": "put", "key": key, "value": value, "upsert": true })
}

fn item(key: &str, value: &str, etag: &str) -> Value {
    json!({
        "key": key,
        "value": value,
        "version": 1,
        "etag": etag,
        "created_at": "2026-01-31T09:30:00.123456Z",
        "updated_at": "2026-01-31T09:30:00.123456Z",
        "expires_at": null,
    })
}

fn created() -> Value {
    json!({ "status": 201, "item": item("hello/en", "hello", "17-1") })
}

fn read() -> Value {
    json!({ "status": 200, "item": item("hello/de", "hallo", "18-1") })
}

fn exists() -> Value {
    json!({
        "status": 409,
        "code": "key-exists",
        "detail": "An item with this key exists. PUT overwrites it.",
    })
}

fn mixed() -> Value {
    json!([created(), exists()])
}
