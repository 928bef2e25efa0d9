//! The explorer: Swagger UI, from the binary, with the document in the page.
//!
//! Of the explorers that the framework embeds, it is the one that needs no other server (Scalar, RapiDoc,
//! ReDoc and OpenAPI Explorer fetch fonts, Stoplight all of itself), works under a policy without
//! `unsafe-inline` (Scalar puts styles into its page), and shows examples, errors, limits, headers and
//! the answer to a call on one page. What it lacks is done here, with a few changes and lines of CSS.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use poem::{
    Response, handler,
    http::{HeaderValue, header},
    web::Data,
};
use poem_openapi::OpenApiService;
use sha2::{Digest, Sha256};

use super::document::{DocumentSettings, Operations, document};

/// A browser may keep both, but asks again: another version of kvd may serve others.
const REVALIDATED: &str = "no-cache";

/// The document as text, and the page that shows it.
#[derive(Clone)]
pub(crate) struct Explorer {
    document: Bytes,
    page: Bytes,
    policy: HeaderValue,
}

impl Explorer {
    pub(crate) fn new(
        service: &OpenApiService<Operations, ()>,
        settings: DocumentSettings,
    ) -> Self {
        let document = document(service, settings);
        let page = service
            .swagger_ui_html()
            .replace(&service.spec(), &document);
        let page = CHANGES
            .iter()
            .fold(page, |page, (theirs, ours)| page.replacen(theirs, ours, 1));
        let policy = policy(&page);
        Self {
            document: document.into(),
            page: page.into(),
            policy: HeaderValue::try_from(policy).expect("hashes and keywords are visible ASCII"),
        }
    }
}

/// What the framework's page says, and what ours says instead.
const CHANGES: [(&str, &str); 4] = [
    (
        "<html charset=\"UTF-8\">",
        "<!doctype html>\n<html lang=\"en\">",
    ),
    (
        "<title>Swagger UI</title>",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n    \
         <link rel=\"icon\" href=\"data:,\">\n    <title>kvd</title>",
    ),
    (
        "</style>",
        concat!(include_str!("explorer.css"), "</style>"),
    ),
    (
        "deepLinking: true,",
        // The limits of parameters; and the calls in an order in which their examples succeed.
        "deepLinking: true,
        showCommonExtensions: true,
        operationsSorter: (a, b) => {
            let order = ['post', 'get', 'put', 'delete'];
            return order.indexOf(a.get('method')) - order.indexOf(b.get('method'));
        },",
    ),
];

/// What the page may do: run its own scripts, and call the service it came from. Swagger UI sets
/// styles from its scripts only, which needs no permission; its icons are `data:` in its style.
fn policy(page: &str) -> String {
    let hashes = |tag| {
        let texts = texts(page, tag);
        let hashes = texts.map(|text| BASE64_STANDARD.encode(Sha256::digest(text)));
        let sources: Vec<_> = hashes.map(|hash| format!("'sha256-{hash}'")).collect();
        sources.join(" ")
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hashes("script"),
        hashes("style"),
    )
}

/// The texts of the page's elements of this name; in a script the name may stand between quotes.
fn texts<'a>(mut page: &'a str, tag: &'a str) -> impl Iterator<Item = &'a str> {
    std::iter::from_fn(move || {
        let (_, element) = page.split_once(&format!("<{tag}"))?;
        let (text, rest) = element
            .split_once('>')?
            .1
            .split_once(&format!("</{tag}>"))?;
        page = rest;
        Some(text)
    })
}

#[handler]
pub(crate) fn openapi(Data(explorer): Data<&Explorer>) -> Response {
    Response::builder()
        .content_type("application/json")
        .header(header::CACHE_CONTROL, REVALIDATED)
        .body(explorer.document.clone())
}

#[handler]
pub(crate) fn docs(Data(explorer): Data<&Explorer>) -> Response {
    Response::builder()
        .content_type("text/html; charset=utf-8")
        .header(header::CACHE_CONTROL, REVALIDATED)
        .header(header::CONTENT_SECURITY_POLICY, &explorer.policy)
        .body(explorer.page.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_ends_where_it_ends_and_not_where_it_names_another() {
        let page = "<script a=\"b\">x = '<script'</script><p><script>y</script>";
        let scripts: Vec<_> = texts(page, "script").collect();
        assert_eq!(scripts, ["x = '<script'", "y"]);
    }

    #[test]
    fn every_change_finds_its_place_once() {
        let page = OpenApiService::new((), "", "").swagger_ui_html();
        for (theirs, _) in CHANGES {
            assert_eq!(page.matches(theirs).count(), 1, "{theirs}");
        }
    }
}
