//! What the document says of the schemas, beyond what the framework generates: the rules of keys and values, members
//! that are `null`, and examples.

use serde_json::{Value, json};

use super::json_members::members;
use crate::{
    http::Code,
    items::{MOST_SECONDS, key_schema},
};

pub(super) fn describe_schemas(schemas: &mut Value) {
    describe_bodies(schemas);
    schemas["ProblemCode"] = json!({
        "type": "string",
        "description": "The kind of problem for programs; never changes.",
        "enum": Code::ALL.map(Code::as_str),
    });
    let problem = &mut schemas["Problem"]["properties"];
    problem["code"] = json!({ "$ref": "#/components/schemas/ProblemCode" });
    problem["type"]["format"] = "uri-reference".into();
    describe_items(schemas);
    describe_identity(&mut schemas["Identity"]);
}

/// What a client sends. `null` is as if it were left out.
fn describe_bodies(schemas: &mut Value) {
    let key = serde_json::to_value(key_schema()).expect("a schema is JSON");
    for (name, rule) in key.as_object().into_iter().flatten() {
        schemas["NewItem"]["properties"]["key"][name] = rule.clone();
    }
    for (body, required) in [
        ("NewItem", &["key", "value"][..]),
        ("NewValue", &["value"]),
        ("Operation", &["op", "key"]),
    ] {
        let schema = &mut schemas[body];
        schema["additionalProperties"] = false.into();
        schema["properties"]["value"]["pattern"] = r"^[^\u0000]*$".into();
        for (name, member) in members(&mut schema["properties"]) {
            if !required.contains(&name.as_str()) {
                member["nullable"] = true.into();
            }
        }
        schema["properties"]["ttl"]["minimum"] = 1.into();
        schema["properties"]["ttl"]["maximum"] = MOST_SECONDS.into();
    }
    schemas["NewItem"]["example"] = json!({ "key": "greeting", "value": "hello" });
    schemas["NewValue"]["example"] = json!({ "value": "hello again" });
}

fn describe_items(schemas: &mut Value) {
    let nullable = ["total", "page", "total_pages", "next_cursor"];
    for member in nullable {
        schemas["Page"]["properties"][member]["nullable"] = true.into();
    }
    let required = ["items", "page_size"].into_iter().chain(nullable);
    schemas["Page"]["required"] = required.collect();
    for item in ["Item", "ListedItem"] {
        let item = &mut schemas[item];
        item["properties"]["expires_at"]["nullable"] = true.into();
        if let Some(required) = item["required"].as_array_mut() {
            required.push("expires_at".into());
        }
    }
    let item = json!({
        "key": "greeting",
        "value": "hello",
        "version": 3,
        "etag": "17-3",
        "created_at": "2026-01-31T09:30:00.123456Z",
        "updated_at": "2026-01-31T09:30:00.123456Z",
        "expires_at": null,
    });
    schemas["Page"]["example"] = json!({
        "items": [item],
        "total": 1,
        "page": 1,
        "page_size": 10,
        "total_pages": 1,
        "next_cursor": null,
    });
    schemas["ListedItem"]["example"] = item.clone();
    schemas["Item"]["example"] = item;
}

fn describe_identity(identity: &mut Value) {
    for member in ["name", "expires_at"] {
        identity["properties"][member]["nullable"] = true.into();
    }
    identity["required"] = json!(["name", "rules", "expires_at"]);
    identity["example"] = json!({
        "name": "app-reader",
        "rules": [{ "prefix": "app/", "access": "read" }],
        "expires_at": "2027-01-31T09:30:00.000000Z",
    });
}
