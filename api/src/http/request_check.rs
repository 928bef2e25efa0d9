//! What must hold before a request gets to its route: the target names something that has the method, and then,
//! once its sender is known, the query has only parameters that the operation has, each once.
//!
//! Afterwards `HEAD` is `GET` (the server leaves the body out), and a query of an item route is
//! parsed.

use std::sync::Arc;

use entity::Key;
use poem::{Endpoint, IntoResponse, Request, Response, http::Method};
use poem_openapi::{
    OpenApi,
    registry::{MetaOperation, MetaParamIn},
};

use super::{
    arrival::Arrival, percent::percent_decoded, problem::Problem, problem_code::Code, query::Query,
    route::Route,
};

/// All methods that any resource has.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
];

/// An operation of the document, as far as requests are checked against it.
struct CheckedOperation {
    route: Route,
    method: Method,
    query_parameters: Vec<String>,
}

/// Checks requests against the routes of a listener and against the operations of the document.
pub(crate) struct RequestCheck {
    operations: Vec<CheckedOperation>,
    /// What the listener has.
    routes: Vec<Route>,
}

/// Refuses requests with a query that their operation does not have.
pub(crate) struct CheckQuery<E> {
    pub inner: E,
    pub check: Arc<RequestCheck>,
}

impl<E: Endpoint<Output = Response>> Endpoint for CheckQuery<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        match self.check.check_query(request) {
            Ok(request) => self.inner.call(request).await,
            Err(problem) => Ok(problem.into_response()),
        }
    }
}

impl RequestCheck {
    /// For a listener with these routes, of which some have the operations of `T`.
    pub(crate) fn of<T: OpenApi>(routes: Vec<Route>) -> Self {
        let paths = T::meta().into_iter().flat_map(|api| api.paths);
        let operations = paths.flat_map(|path| {
            let route = Route::of(&path.path);
            let operations = path.operations.into_iter();
            operations.map(move |operation| CheckedOperation::new(route, operation))
        });
        Self {
            operations: operations.collect(),
            routes,
        }
    }

    /// The request with the method that its resource has.
    pub(crate) fn check_method(&self, mut request: Request) -> Result<Request, Problem> {
        check_target(&request)?;
        let Arrival { route, .. } = Arrival::of(&request);
        match route {
            Route::BelowItems => {
                let detail = "A key is one segment of the path: write / in it as %2F.";
                return Err(Problem::new(Code::RouteNotFound, detail));
            }
            _ if self.routes.contains(&route) => {}
            _ => return Err(Problem::route_not_found()),
        }
        let method = match request.method() {
            &Method::HEAD => Method::GET,
            method => method.clone(),
        };
        let has_method = match route.has_operations() {
            true => self.find(route, &method).is_some(),
            false => method == Method::GET,
        };
        if !has_method {
            return Err(method_not_allowed(&self.methods(route)));
        }
        request.set_method(method);
        Ok(request)
    }

    /// The request with its query.
    pub(crate) fn check_query(&self, mut request: Request) -> Result<Request, Problem> {
        let Arrival { route, .. } = Arrival::of(&request);
        // What is wrong with the key is said before what is wrong with parameters.
        if let Some(operation) = self.find(route, request.method())
            && let Some(text) = request.uri().query()
        {
            if route == Route::Item {
                path_key(&request)?;
            }
            let known = |name: &str| operation.query_parameters.iter().any(|known| known == name);
            let query = Query::parse(text, known)?;
            request.set_data(query);
        }
        Ok(request)
    }

    fn find(&self, route: Route, method: &Method) -> Option<&CheckedOperation> {
        let named = |known: &&CheckedOperation| known.route == route && known.method == *method;
        self.operations.iter().find(named)
    }

    /// The methods of a route. A page that is no operation of the document can only be read.
    fn methods(&self, route: Route) -> Vec<Method> {
        let get = !route.has_operations() || self.find(route, &Method::GET).is_some();
        let read = [Method::GET, Method::HEAD].into_iter().filter(|_| get);
        let write = [Method::POST, Method::PUT, Method::DELETE].into_iter();
        read.chain(write.filter(|method| self.find(route, method).is_some()))
            .collect()
    }
}

impl CheckedOperation {
    fn new(route: Route, operation: MetaOperation) -> Self {
        let parameters = operation.params.into_iter();
        Self {
            route,
            method: operation.method,
            query_parameters: parameters
                .filter(|parameter| parameter.in_type == MetaParamIn::Query)
                .map(|parameter| parameter.name)
                .collect(),
        }
    }
}

/// Whether the target names a resource (RFC 9112, 3.2).
fn check_target(request: &Request) -> Result<(), Problem> {
    match request.uri().path() {
        // What follows is no HTTP to a client that believes in its tunnel.
        _ if request.method() == Method::CONNECT => Err(method_not_allowed(&METHODS).with_close()),
        "*" if request.method() == Method::OPTIONS => Err(method_not_allowed(&METHODS)),
        path if path.starts_with('/') => Ok(()),
        _ => Err(Problem::invalid("The request target is no path.")),
    }
}

/// The key in the path of an item.
pub(crate) fn path_key(request: &Request) -> Result<Key, Problem> {
    let encoded = Route::key(request.uri().path()).unwrap_or_default();
    let text = percent_decoded(encoded)
        .ok_or_else(|| Problem::new(Code::InvalidKey, "The path is not percent-encoded UTF-8."))?;
    Ok(Key::new(text)?)
}

pub(crate) fn method_not_allowed(allowed: &[Method]) -> Problem {
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let allow = names.join(", ");
    Problem::new(Code::MethodNotAllowed, format!("It has {allow}.")).with_allow(allow)
}
