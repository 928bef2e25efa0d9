//! The OpenAPI document: what the framework generates from the operations, and what it cannot say.

use poem_openapi::{ContactObject, ExtraHeader, LicenseObject, OpenApiService};
use serde_json::{Map, Value, json};

use super::{
    describe_batch::describe_batch, describe_schemas::describe_schemas, examples::example,
    json_members::members,
};
use crate::{
    auth::{WHOAMI, Whoami},
    http::{Code, Described, IDENTITY},
    items::{ItemBatches, Items, OPERATIONS},
    rate_limit::Quota,
};

const DESCRIPTION: &str = "\
Keys and values in the SQL database you already run.

Paths `/items` and `/items/` are the same, and `HEAD` works wherever `GET` does. Every error is a \
problem document (RFC 9457) with a stable `code`. An item has a tag, `{id}-{version}`, in its member \
`etag` and, in quotes, in the header `ETag`: with `If-Match` a write becomes a compare-and-set.

A 503 means that nothing was written. A 504 `outcome-unknown` means that the database did not say: \
the write may have been applied, or may still be; a retry under `If-Match` is safe.

Where kvd asks for tokens (`AUTH=tokens`), send one as `Authorization: Bearer kvd_…`: without one that is live the \
answer is 401, and outside its rules 403. `kvctl token create` makes one.";

/// What the document calls the way in which a token is sent.
const TOKEN: &str = "token";

/// The headers of answers as they are written, each with an example.
const HEADERS: [(&str, &str); 12] = [
    ("Accept-Encoding", IDENTITY),
    ("Cache-Control", "no-cache"),
    ("Content-Location", "/items/greeting"),
    ("ETag", "\"17-3\""),
    (
        "Link",
        "</items/?page=1&page_size=10>; rel=\"first\", </items/?page=2&page_size=10>; rel=\"next\", \
         </items/?page=124&page_size=10>; rel=\"last\"",
    ),
    ("Location", "/items/greeting"),
    ("RateLimit", "\"default\";r=59;t=60"),
    ("RateLimit-Policy", "\"default\";q=60;w=60"),
    ("Retry-After", "1"),
    ("WWW-Authenticate", "Bearer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Request-Id", "0c9f2f1d3f0e4f6c8f1a2b3c4d5e6f70"),
];

/// What the document says of this kvd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentSettings {
    /// `None` if the limiter is turned off.
    pub quota: Option<Quota>,
    pub max_value_bytes: usize,
}

/// All operations.
pub(crate) type Operations = (Items, ItemBatches, Whoami);

/// The operations with their description.
pub(crate) fn service(
    operations: Operations,
    settings: DocumentSettings,
) -> OpenApiService<Operations, ()> {
    let header = |name: &str, description: &str| ExtraHeader::new(name).description(description);
    let quota = described(settings.quota);
    OpenApiService::new(operations, "kvd", env!("CARGO_PKG_VERSION"))
        .description(format!("{DESCRIPTION}\n\n{quota}"))
        .license(LicenseObject::new("MIT OR Apache-2.0").url("https://spdx.org/licenses/"))
        .contact(ContactObject::new().name("Whoever runs this kvd"))
        .server("/")
        .extra_response_header::<String, _>(header(
            "X-Request-Id",
            "The id of the request, the same as in the log.",
        ))
        .extra_response_header::<String, _>(header("X-Content-Type-Options", "Always `nosniff`."))
        .extra_response_header::<Option<String>, _>(header(
            "RateLimit-Policy",
            &format!(
                "The quota (`q`) and its window in seconds (`w`). {quota} Absent if the limiter \
                 is off."
            ),
        ))
        .extra_response_header::<Option<String>, _>(header(
            "RateLimit",
            "Requests left (`r`), and seconds until the oldest one leaves the window (`t`). Absent \
             if the limiter is off, or was not asked: with 421.",
        ))
        .extra_response_header::<String, _>(header(
            "Cache-Control",
            "`no-cache` about items; else, and with 401, 403, 421 and 429, `no-store`.",
        ))
}

/// The limit of requests as it is set.
fn described(quota: Option<Quota>) -> String {
    match quota {
        None => "There is no limit of requests.".to_owned(),
        Some(Quota { limit, window }) => format!(
            "At most {limit} requests of one client to `/items` and below, to `/batch`, and to `/whoami`, in any {} seconds.",
            window.as_secs()
        ),
    }
}

/// The document as text.
pub(super) fn document(
    service: &OpenApiService<Operations, ()>,
    settings: DocumentSettings,
) -> String {
    let mut document: Value =
        serde_json::from_str(&service.spec()).expect("the framework writes JSON");
    restore_slash(&mut document["paths"]);
    for (path, methods) in members(&mut document["paths"]) {
        for (method, operation) in members(methods) {
            let described = described_operations()
                .find(|described| {
                    described.route.template() == path
                        && described.method.as_str().eq_ignore_ascii_case(method)
                })
                .expect("every operation is described");
            operation["operationId"] = described.id.into();
            describe_answers(&mut operation["responses"], described.problems);
            allow_empty_cursor(operation);
        }
    }
    // Once, and optional, as a kvd may ask for none. Said for each operation, generated clients would demand a token
    // everywhere.
    document["security"] = json!([{ TOKEN: [] }, {}]);
    document["components"]["securitySchemes"][TOKEN] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `kvctl token create`, alone, from `kvd_` on; needed where kvd runs with `AUTH=tokens`. \
                        It is sent with the next call, which tells whether it is live.",
    });
    describe_schemas(&mut document["components"]["schemas"]);
    limit_values(&mut document, settings.max_value_bytes);
    describe_batch(&mut document);
    standardise_formats(&mut document);
    // Else the order depends on what else is built.
    document.sort_all_objects();
    format!("{document:#}\n")
}

fn described_operations() -> impl Iterator<Item = &'static Described> {
    OPERATIONS.iter().chain([&WHOAMI])
}

/// The framework drops the slash at the end of a path.
fn restore_slash(paths: &mut Value) {
    if let Some(paths) = paths.as_object_mut()
        && let Some(items) = paths.remove("/items")
    {
        paths.insert("/items/".to_owned(), items);
    }
}

/// Where a walk begins; an explorer leaves out what is empty, unless told.
fn allow_empty_cursor(operation: &mut Value) {
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["name"] == "cursor" {
            parameter["allowEmptyValue"] = true.into();
        }
    }
}

/// The codes of every problem, with an example each, and an example of every header. The framework
/// also writes the names of headers in capitals.
fn describe_answers(answers: &mut Value, codes: &[Code]) {
    for (status, answer) in members(answers) {
        let problem = answer.pointer_mut("/content/application~1problem+json");
        if let Some(problem) = problem {
            problem["examples"] = examples(codes, status);
            answer["description"] = explained(codes, status).into();
        }
        let shouted = answer["headers"].take();
        let headers = shouted.as_object().into_iter().flatten();
        let headers = headers.map(|(shouted, header)| {
            let (name, example) = HEADERS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(shouted))
                .expect("every header of an answer has an example");
            let mut header = header.clone();
            let schema = &mut header["schema"];
            schema["example"] = match schema["type"].as_str() {
                Some("integer") => example.parse::<u64>().ok().into(),
                _ => (*example).into(),
            };
            ((*name).to_owned(), header)
        });
        answer["headers"] = Value::Object(headers.collect());
    }
}

fn of_status<'a>(codes: &'a [Code], status: &str) -> impl Iterator<Item = &'a Code> {
    codes
        .iter()
        .filter(move |code| code.status().as_str() == status)
}

/// The codes of a status, in Markdown.
fn explained(codes: &[Code], status: &str) -> String {
    let line = |code: &Code| format!("`{}`: {}", code.as_str(), code.meaning());
    let lines: Vec<_> = of_status(codes, status).map(line).collect();
    lines.join("\n\n")
}

fn examples(codes: &[Code], status: &str) -> Value {
    let example = |code: &Code| {
        let document = serde_json::to_value(example(*code).document());
        let document = document.expect("a problem document is JSON");
        let example = json!({ "summary": code.meaning(), "value": document });
        (code.as_str().to_owned(), example)
    };
    Value::Object(of_status(codes, status).map(example).collect::<Map<_, _>>())
}

/// The limit of values as it is set. As the rule of keys it is one of bytes, so the schema alone does
/// not say it.
fn limit_values(document: &mut Value, most: usize) {
    for body in ["NewItem", "NewValue", "Operation"] {
        let value = &mut document["components"]["schemas"][body]["properties"]["value"];
        value["description"] = format!("UTF-8 text without U+0000, at most {most} bytes.").into();
        value["maxLength"] = most.into();
    }
    let paths = members(&mut document["paths"]);
    for (_, operation) in paths.flat_map(|(_, methods)| members(methods)) {
        if let Some(body) = operation.get_mut("requestBody") {
            body["description"] = format!("A value has at most {most} bytes.").into();
        }
    }
}

/// The framework's formats of unsigned numbers are its own invention.
fn standardise_formats(value: &mut Value) {
    match value {
        Value::Object(members) => {
            match members.get("format").and_then(Value::as_str) {
                Some("uint64") => drop(members.insert("format".to_owned(), "int64".into())),
                Some("uint16") => drop(members.insert("format".to_owned(), "int32".into())),
                _ => {}
            }
            members.values_mut().for_each(standardise_formats);
        }
        Value::Array(elements) => elements.iter_mut().for_each(standardise_formats),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path, time::Duration};

    use super::*;
    use crate::{
        http::{MemoryBudget, log_failure},
        store::{RequestTime, Store, StoreSettings},
        telemetry::Metrics,
    };

    fn served() -> String {
        let settings = StoreSettings {
            url: "sqlite://unused.db".parse().unwrap(),
            connections: 16,
            max_value_bytes: 262_144,
            time: RequestTime(Duration::from_secs(5)),
        };
        let metrics = Metrics::new();
        let store = Store::new(&settings, &metrics, log_failure).unwrap();
        let described = DocumentSettings {
            quota: Some(Quota {
                limit: 60,
                window: Duration::from_mins(1),
            }),
            max_value_bytes: settings.max_value_bytes,
        };
        let memory = MemoryBudget::new(0, Duration::ZERO);
        let items = Items::new(store.clone(), memory.clone(), &settings);
        let batches = ItemBatches::new(store, memory, &settings, &metrics);
        document(&service((items, batches, Whoami), described), described)
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
             UPDATE_OPENAPI=1 cargo test -p api document"
        );
    }

    #[test]
    fn every_problem_of_an_operation_has_an_example() {
        let document: Value = serde_json::from_str(&served()).unwrap();
        for described in described_operations() {
            let method = described.method.as_str().to_lowercase();
            let operation = &document["paths"][described.route.template()][method];
            for code in described.problems {
                let answer = &operation["responses"][code.status().as_str()];
                let content = &answer["content"]["application/problem+json"];
                let example = &content["examples"][code.as_str()];
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
        assert_eq!(ids.len(), described_operations().count(), "{ids:?}");
    }

    #[test]
    fn codes_are_unique_and_problems_say_their_status() {
        for code in Code::ALL {
            let same = Code::ALL
                .iter()
                .filter(|other| other.as_str() == code.as_str());
            assert_eq!(same.count(), 1, "{code:?}");
            let document = serde_json::to_value(example(code).document()).unwrap();
            assert_eq!(document["status"], code.status().as_u16());
        }
    }
}
