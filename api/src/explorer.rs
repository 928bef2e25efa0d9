//! The explorer: Swagger UI, from the binary, with the document in the page. It needs no internet.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use poem::{
    Response, handler,
    http::{HeaderValue, header},
    web::Data,
};
use poem_openapi::OpenApiService;
use sha2::{Digest, Sha256};

use crate::{document::document, items::Items};

/// The document as text, and the page that shows it.
#[derive(Clone)]
pub struct Explorer {
    document: Bytes,
    page: Bytes,
    policy: HeaderValue,
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
            policy: HeaderValue::try_from(policy).expect("hashes and keywords are visible ASCII"),
        }
    }
}

/// What the page may do: run its own scripts, and call the service it came from.
fn policy(page: &str) -> String {
    let hashes: Vec<_> = scripts(page)
        .map(|script| BASE64_STANDARD.encode(Sha256::digest(script)))
        .map(|hash| format!("'sha256-{hash}'"))
        .collect();
    format!(
        "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hashes.join(" ")
    )
}

/// The scripts of the page; one of them has the word `<script` in its text.
fn scripts(mut page: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (_, tag) = page.split_once("<script")?;
        let (script, rest) = tag.split_once('>')?.1.split_once("</script>")?;
        page = rest;
        Some(script)
    })
}

#[handler]
pub(crate) fn openapi(Data(explorer): Data<&Explorer>) -> Response {
    Response::builder()
        .content_type("application/json")
        .body(explorer.document.clone())
}

#[handler]
pub(crate) fn docs(Data(explorer): Data<&Explorer>) -> Response {
    Response::builder()
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, &explorer.policy)
        .body(explorer.page.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_ends_where_it_ends_and_not_where_it_names_another() {
        let page = "<script a=\"b\">x = '<script'</script><p><script>y</script>";
        assert_eq!(scripts(page).collect::<Vec<_>>(), ["x = '<script'", "y"]);
    }
}
