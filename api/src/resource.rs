//! What must hold before a request gets to its route: the path names something, the method is one
//! of its own, and the query says nothing it does not know or says twice.
//!
//! Afterwards `HEAD` is `GET` (the server leaves the body out), and a query of an item route is
//! parsed.

use std::borrow::Cow;

use poem::{Request, http::Method};
use poem_openapi::{
    OpenApi,
    registry::{MetaOperation, MetaParamIn},
};

use crate::{
    problem::{Code, Problem},
    routes::Route,
};

/// The query of a request to an item route, every name once.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The query parameters of one operation.
struct Operation {
    route: &'static str,
    method: Method,
    parameters: Vec<String>,
}

/// Checks requests against the routes and against the operations of the document.
pub struct Resource(Vec<Operation>);

impl Resource {
    pub fn of<T: OpenApi>() -> Self {
        let operations = T::meta().into_iter().flat_map(|api| api.paths);
        let operations = operations.flat_map(|path| {
            let route = Route::of(&path.path).template();
            let known = move |operation: MetaOperation| Operation {
                route,
                method: operation.method,
                parameters: operation
                    .params
                    .into_iter()
                    .filter(|parameter| parameter.in_type == MetaParamIn::Query)
                    .map(|parameter| parameter.name)
                    .collect(),
            };
            path.operations.into_iter().map(known)
        });
        Self(operations.collect())
    }

    /// The request as its route expects it.
    pub fn check(&self, mut request: Request) -> Result<Request, Problem> {
        let route = Route::of(request.uri().path());
        if route == Route::Unknown {
            let below_items = request.uri().path().starts_with("/items/");
            return Err(if below_items {
                let detail = "A key is one segment of the path: write / in it as %2F.";
                Problem::new(Code::RouteNotFound, detail)
            } else {
                Problem::route_not_found()
            });
        }
        if !route.methods().contains(request.method()) {
            return Err(Problem::method_not_allowed(route.methods()));
        }
        if request.method() == Method::HEAD {
            request.set_method(Method::GET);
        }
        if matches!(route, Route::Items | Route::Item)
            && let Some(text) = request.uri().query()
        {
            let query = self.query(route, request.method(), text)?;
            request.set_data(query);
        }
        Ok(request)
    }

    fn query(&self, route: Route, method: &Method, text: &str) -> Result<Query, Problem> {
        let mut given: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !self.knows(route, method, &name) {
                return Err(Problem::invalid(format!(
                    "There is no query parameter {name:?} here."
                )));
            }
            if given.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Problem::invalid(format!(
                    "The query parameter {name:?} is given more than once."
                )));
            }
            given.push((name, value));
        }
        Ok(Query(given))
    }

    fn knows(&self, route: Route, method: &Method, name: &str) -> bool {
        self.0.iter().any(|operation| {
            operation.route == route.template()
                && operation.method == *method
                && operation.parameters.iter().any(|known| known == name)
        })
    }
}

/// Form decoding: `+` is a space; what is not UTF-8 is refused, not replaced.
fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| Problem::invalid("The query is not percent-encoded UTF-8."))
}

#[cfg(test)]
mod tests {
    use poem::http::Uri;

    use super::*;
    use crate::items::Items;

    #[test]
    fn routes_and_document_have_the_same_operations() {
        let resource = Resource::of::<Items>();
        for route in [Route::Items, Route::Item] {
            let mut documented: Vec<_> = resource
                .0
                .iter()
                .filter(|operation| operation.route == route.template())
                .map(|operation| operation.method.as_str())
                .chain(["HEAD"])
                .collect();
            let mut routed: Vec<_> = route.methods().iter().map(Method::as_str).collect();
            documented.sort_unstable();
            routed.sort_unstable();
            assert_eq!(documented, routed);
        }
    }

    #[test]
    fn a_query_is_known_once_and_utf8() {
        let resource = Resource::of::<Items>();
        let check = |uri: &'static str| {
            let request = Request::builder().uri(Uri::from_static(uri)).finish();
            resource.check(request).map(|request| {
                let query = request.data::<Query>().cloned().unwrap_or_default();
                query.get("prefix").map(str::to_owned)
            })
        };
        assert_eq!(
            check("/items/?prefix=a+b%20c").unwrap().as_deref(),
            Some("a b c")
        );
        assert_eq!(check("/items?prefix=&page=1").unwrap().as_deref(), Some(""));
        assert!(check("/items/?prefix=a&prefix=a").is_err());
        assert!(check("/items/?prefx=a").is_err());
        assert!(check("/items/?prefix=%FF").is_err());
        assert!(check("/items/a?page=1").is_err());
        assert!(check("/livez?anything=goes").is_ok());
    }
}
