//! The OpenAPI document and the explorer.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use poem::{
    IntoResponse, Response, handler,
    http::header,
    web::{Data, Html, WithHeader},
};
use poem_openapi::{ExtraHeader, LicenseObject, OpenApiService};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    items::Items,
    operations, params,
    problem::{Code, Problem},
};

const DESCRIPTION: &str = "\
Keys and values in the SQL database you already run.

Paths `/items` and `/items/` are the same. Every error is a problem document (RFC 9457) with a stable \
`code`. An item has a tag, `{id}-{version}`, in its member `etag` and, in quotes, in the header \
`ETag`: with `If-Match` a write becomes a compare-and-set.

A 503 means that nothing was written. A 504 `outcome-unknown` means that the database did not say: \
the write may have been applied, or may still be; a retry under `If-Match` is safe.";

/// The item operations with their description.
pub fn service(items: Items) -> OpenApiService<Items, ()> {
    let header = |name: &str, description: &str| ExtraHeader::new(name).description(description);
    OpenApiService::new(items, "kvd", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .license(LicenseObject::new("MIT OR Apache-2.0").identifier("MIT OR Apache-2.0"))
        .extra_response_header::<String, _>(header(
            "X-Request-Id",
            "The id of the request, the same as in the log.",
        ))
        .extra_response_header::<Option<String>, _>(header(
            "RateLimit-Policy",
            "The quota: `\"default\";q=60;w=60` is 60 requests in any 60 seconds. Absent if the \
             limiter is off.",
        ))
        .extra_response_header::<Option<String>, _>(header(
            "RateLimit",
            "Requests left (`r`), and seconds until the oldest one leaves the window (`t`). Absent \
             if the limiter is off.",
        ))
        .extra_response_header::<String, _>(header(
            "Cache-Control",
            "`no-cache`; with 429 `no-store`.",
        ))
}

/// The document as text, and the page that shows it.
#[derive(Clone)]
pub struct Explorer {
    document: Arc<str>,
    page: Arc<str>,
    policy: Arc<str>,
}

impl Explorer {
    pub fn new(service: &OpenApiService<Items, ()>) -> Self {
        let document = document(service);
        let page = service
            .swagger_ui_html()
            .replace(&service.spec(), &document)
            .replace(
                "<html charset=\"UTF-8\">",
                "<!doctype html>\n<html lang=\"en\">",
            )
            .replace(
                "<title>Swagger UI</title>",
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n    \
                 <link rel=\"icon\" href=\"data:,\">\n    <title>kvd</title>",
            );
        let policy = policy(&page);
        Self {
            document: document.into(),
            page: page.into(),
            policy: policy.into(),
        }
    }

    /// The OpenAPI document.
    pub fn document(&self) -> &str {
        &self.document
    }
}

/// What the page may do: run its own scripts, and call the service it came from.
fn policy(page: &str) -> String {
    let hashes: Vec<_> = page
        .split("<script")
        .skip(1)
        .filter_map(|rest| rest.split_once('>')?.1.split_once("</script>"))
        .map(|(script, _)| BASE64_STANDARD.encode(Sha256::digest(script)))
        .map(|hash| format!("'sha256-{hash}'"))
        .collect();
    format!(
        "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hashes.join(" ")
    )
}

/// What the framework generates, and what it cannot say: examples of problems, the rules of keys,
/// members that are `null`.
fn document(service: &OpenApiService<Items, ()>) -> String {
    let mut document: Value =
        serde_json::from_str(&service.spec()).expect("the framework writes JSON");
    for operation in operations_of(&mut document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let (_, codes) = operations::PROBLEMS
            .iter()
            .find(|(operation, _)| *operation == id)
            .expect("every operation lists its problems");
        for (status, answer) in operation["responses"].as_object_mut().into_iter().flatten() {
            if let Some(content) = answer["content"].get_mut("application/problem+json") {
                content["examples"] = examples(codes, status);
            }
        }
    }
    // The framework drops the slash at the end.
    let items = document["paths"]["/items"].take();
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.remove("/items");
        paths.insert("/items/".to_owned(), items);
    }
    let schemas = &mut document["components"]["schemas"];
    schemas["Problem"]["properties"]["code"]["enum"] = Code::ALL.map(Code::as_str).into();
    let key = serde_json::to_value(params::key_schema()).expect("a schema is JSON");
    for (name, rule) in key.as_object().into_iter().flatten() {
        schemas["NewItem"]["properties"]["key"][name] = rule.clone();
    }
    for body in ["NewItem", "NewValue"] {
        schemas[body]["properties"]["value"]["pattern"] = r"^[^\u0000]*$".into();
    }
    let nullable = ["total", "page", "total_pages", "next_cursor"];
    for member in nullable {
        schemas["Page"]["properties"][member]["nullable"] = true.into();
    }
    let required = ["items", "page_size"].into_iter().chain(nullable);
    schemas["Page"]["required"] = required.collect();
    format!("{document:#}\n")
}

fn operations_of(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(_, path)| path.as_object_mut().into_iter().flatten().map(|(_, o)| o))
}

fn examples(codes: &[Code], status: &str) -> Value {
    let of_status = codes.iter().filter(|code| code.status().as_str() == status);
    let example = |code: &Code| {
        let document: Value = serde_json::from_str(&Problem::example(*code).document())
            .expect("a problem document is JSON");
        let example = json!({ "summary": code.title(), "value": document });
        (code.as_str().to_owned(), example)
    };
    Value::Object(of_status.map(example).collect::<Map<_, _>>())
}

#[handler]
pub(crate) fn openapi(Data(explorer): Data<&Explorer>) -> Response {
    Response::builder()
        .content_type("application/json")
        .body(explorer.document.to_string())
}

#[handler]
pub(crate) fn docs(Data(explorer): Data<&Explorer>) -> WithHeader<Html<String>> {
    Html(explorer.page.to_string()).with_header(header::CONTENT_SECURITY_POLICY, &*explorer.policy)
}
