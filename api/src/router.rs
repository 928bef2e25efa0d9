//! Every URL, and the order of the middleware.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use poem::{
    Endpoint, EndpointExt, Request, Response, Result, endpoint::BoxEndpoint, handler, http::Method,
    web::Redirect,
};
use poem_openapi::OpenApi;
use tokio::sync::watch;

use crate::{
    auth::{Guard, KnownTokens, Whoami},
    config::{Auth, Config},
    http::{
        Arrival, BodyLimits, BoundHalfClosed, CatchErrors, CheckHead, CheckQuery, HostSettings,
        HttpMetrics, MemoryBudget, Observe, ObserveSettings, Problem, RequestCheck, Route,
        UnreadBody,
    },
    items::{ItemBatches, Items, MOST_BODY_BYTES},
    net::Phase,
    openapi::{self, DocumentSettings, Explorer, Operations},
    rate_limit::{LimiterMetrics, Quota, RateLimit, RateLimiter},
    status::{self, Readiness},
    store::{Store, StoreSettings},
    telemetry::Metrics,
};

/// The endpoints of the two listeners.
pub(crate) struct Endpoints {
    pub public: BoxEndpoint<'static, Response>,
    pub admin: BoxEndpoint<'static, Response>,
}

/// Builds everything that answers requests.
// Long: what the endpoints share is made once, one after the other.
pub(crate) fn endpoints(
    config: &Config,
    settings: &StoreSettings,
    store: &Store,
    metrics: &Arc<Metrics>,
    phase: watch::Receiver<Phase>,
) -> Endpoints {
    let asks_tokens = config.auth == Some(Auth::Tokens);
    let readiness = Arc::new(Readiness::new(store.clone(), asks_tokens, phase));
    let status = || {
        vec![
            page(Route::Livez, status::livez),
            page(Route::Readyz, status::readyz.data(readiness.clone())),
            page(Route::Metrics, status::scrape.data(metrics.clone())),
        ]
    };

    let memory = memory(config, settings, metrics);
    let items = Items::new(store.clone(), memory.clone(), settings);
    let batches = ItemBatches::new(store.clone(), memory.clone(), settings, metrics);
    let described = DocumentSettings {
        quota: quota(config),
        max_value_bytes: settings.max_value_bytes,
    };
    let explorer = Explorer::new(
        &openapi::service((items.clone(), batches.clone(), Whoami), described),
        described,
    );
    let mut public = operations((items, batches, Whoami), config, &memory);
    public.extend(pages(explorer));
    if config.admin_listen.is_none() {
        public.extend(status());
    }

    let middleware = Middleware::new(config, settings, metrics);
    let limiter = limiter(config, metrics, &middleware.limiter_metrics);
    let sessions = settings.connections as usize;
    let for_public = ListenerSettings {
        limiter,
        hosts: hosts(config, Some(config.listen), asks_tokens),
        needs_tls: config.tls_cert.is_some(),
        tokens: asks_tokens.then(|| KnownTokens::new(store.clone(), sessions, metrics)),
    };
    let for_admin = ListenerSettings {
        limiter: None,
        hosts: hosts(config, config.admin_listen, false),
        needs_tls: false,
        tokens: None,
    };
    Endpoints {
        public: middleware.around(public, for_public),
        admin: middleware.around(status(), for_admin),
    }
}

fn pages(explorer: Explorer) -> [Routed; 3] {
    [
        page(Route::Root, root),
        page(Route::Docs, openapi::docs.data(explorer.clone())),
        page(Route::OpenApi, openapi::openapi.data(explorer)),
    ]
}

fn memory(config: &Config, settings: &StoreSettings, metrics: &Metrics) -> MemoryBudget {
    let memory = MemoryBudget::new(config.memory_budget, settings.time.after_waiting());
    memory.watch(metrics);
    memory
}

fn quota(config: &Config) -> Option<Quota> {
    (config.rate_limit > 0).then_some(Quota {
        limit: config.rate_limit,
        window: config.rate_limit_window,
    })
}

/// To which hosts the listener on this address answers. Where everybody is let in, a web page must not be able to let
/// its own name lead there.
fn hosts(config: &Config, listener: Option<SocketAddr>, asks_tokens: bool) -> HostSettings {
    let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    HostSettings {
        loopback: listener.is_some_and(is_loopback) && !asks_tokens,
        allowed_hosts: config.allowed_hosts.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
    }
}

fn limiter(
    config: &Config,
    metrics: &Metrics,
    instruments: &LimiterMetrics,
) -> Option<Arc<RateLimiter>> {
    let limiter = quota(config).map(|quota| {
        let evictions = instruments.evictions.clone();
        let limiter = RateLimiter::new(quota, config.rate_limit_max_clients, evictions);
        Arc::new(limiter)
    });
    LimiterMetrics::watch(metrics, limiter.clone());
    limiter
}

/// What differs between the two listeners.
struct ListenerSettings {
    limiter: Option<Arc<RateLimiter>>,
    hosts: HostSettings,
    needs_tls: bool,
    tokens: Option<KnownTokens>,
}

/// The middleware, and what it shares.
struct Middleware {
    settings: ObserveSettings,
    /// The end of a request's time, in which it is too late to begin.
    margin: Duration,
    http_metrics: Arc<HttpMetrics>,
    limiter_metrics: LimiterMetrics,
}

impl Middleware {
    fn new(config: &Config, settings: &StoreSettings, metrics: &Metrics) -> Self {
        Self {
            settings: ObserveSettings {
                trusted_proxies: config.trusted_proxies.clone(),
                client_ip_header: config.client_ip_header.clone(),
                request_timeout: config.request_timeout,
            },
            margin: settings.time.after_waiting(),
            http_metrics: Arc::new(HttpMetrics::new(metrics)),
            limiter_metrics: LimiterMetrics::new(metrics),
        }
    }

    /// From the outside in: the middleware that stands last sees the request first and the answer last.
    fn around(
        &self,
        routes: Vec<Routed>,
        listener: ListenerSettings,
    ) -> BoxEndpoint<'static, Response> {
        let own = routes.iter().map(|routed| routed.route).collect();
        let bounded = BoundHalfClosed {
            inner: Routes(routes),
            margin: self.margin,
        };
        let check = Arc::new(RequestCheck::of::<Operations>(own));
        let asked = CheckQuery {
            inner: bounded,
            check: check.clone(),
        };
        let guarded = Guard {
            inner: asked,
            tokens: listener.tokens,
        };
        let caught = CatchErrors {
            inner: guarded,
            check,
        };
        let limited = RateLimit {
            inner: caught,
            limiter: listener.limiter,
            metrics: self.limiter_metrics.clone(),
        };
        let checked = CheckHead {
            inner: limited,
            hosts: listener.hosts,
            needs_tls: listener.needs_tls,
        };
        Observe {
            inner: UnreadBody { inner: checked },
            settings: self.settings.clone(),
            metrics: self.http_metrics.clone(),
        }
        .boxed()
    }
}

/// Where the requests of a route with a method are answered.
struct Routed {
    route: Route,
    method: Method,
    /// Where a request has a body.
    body: Option<BodyLimits>,
    endpoint: BoxEndpoint<'static, Response>,
}

/// A page that can only be read.
fn page(route: Route, endpoint: impl Endpoint + 'static) -> Routed {
    Routed {
        route,
        method: Method::GET,
        body: None,
        endpoint: endpoint.map_to_response().boxed(),
    }
}

/// The operations of the document.
fn operations(all: Operations, config: &Config, memory: &MemoryBudget) -> Vec<Routed> {
    let value_bytes = config.max_value_bytes as usize;
    let limits = BodyLimits {
        bytes: entity::max_json_bytes(value_bytes),
        value_bytes,
        time: config.request_timeout,
        memory: memory.clone(),
    };
    // Of a batch all may be values.
    let of_batches = BodyLimits {
        bytes: MOST_BODY_BYTES,
        value_bytes: MOST_BODY_BYTES,
        ..limits.clone()
    };
    let mut paths = HashMap::new();
    all.add_routes(&mut paths);
    let mut operations = Vec::new();
    for (path, methods) in paths {
        let route = Route::of(&path);
        operations.extend(methods.into_iter().map(|(method, endpoint)| {
            let has_body = [Method::POST, Method::PUT].contains(&method);
            let limits = match route {
                Route::Batch => &of_batches,
                _ => &limits,
            };
            Routed {
                route,
                body: has_body.then(|| limits.clone()),
                method,
                endpoint,
            }
        }));
    }
    operations
}

/// Endpoints are found without the framework's router, which would take a read a tenth to a fifth more of
/// kvd's own time.
struct Routes(Vec<Routed>);

impl Endpoint for Routes {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let Arrival { route, .. } = Arrival::of(&request);
        let method = request.method();
        let named = |routed: &&Routed| routed.route == route && routed.method == method;
        let Some(routed) = self.0.iter().find(named) else {
            return Err(Problem::route_not_found().into());
        };
        if let Some(limits) = &routed.body {
            request.set_data(limits.clone());
        }
        routed.endpoint.call(request).await
    }
}

#[handler]
fn root() -> Redirect {
    Redirect::temporary("/docs")
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse;
    use poem_openapi::registry::MetaOperation;

    use super::*;
    use crate::{auth::WHOAMI, items::OPERATIONS};

    #[test]
    fn every_operation_of_the_document_is_described_and_no_other() {
        let paths = Operations::meta().into_iter().flat_map(|api| api.paths);
        let mut documented: Vec<_> = paths
            .flat_map(|path| {
                let route = Route::of(&path.path).template();
                let named = move |operation: MetaOperation| (route, operation.method.to_string());
                path.operations.into_iter().map(named)
            })
            .collect();
        let mut described: Vec<_> = OPERATIONS
            .iter()
            .chain([&WHOAMI])
            .map(|described| (described.route.template(), described.method.to_string()))
            .collect();
        documented.sort();
        described.sort();
        assert_eq!(documented, described);
    }

    #[test]
    fn a_resource_has_the_methods_of_its_operations() {
        let check = RequestCheck::of::<Operations>(vec![Route::Items, Route::Item, Route::Livez]);
        let allowed = |path: &str| {
            let mut request = Arrival::at(path);
            request.set_method(Method::OPTIONS);
            let refused = check
                .check_method(request)
                .err()
                .map(IntoResponse::into_response);
            let header = refused.and_then(|answer| answer.headers().get("allow").cloned());
            header.unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(allowed("/items/"), "GET, HEAD, POST");
        assert_eq!(allowed("/items/a"), "GET, HEAD, PUT, DELETE");
        assert_eq!(allowed("/livez"), "GET, HEAD");
    }

    #[test]
    fn only_operations_have_a_query_that_is_checked() {
        let check = RequestCheck::of::<Operations>(vec![Route::Items, Route::Item, Route::Livez]);
        let passes = |path: &str| {
            let request = check.check_method(Arrival::at(path));
            request
                .and_then(|request| check.check_query(request))
                .is_ok()
        };
        assert!(passes("/items/?prefix=a&page=1"));
        assert!(!passes("/items/?prefx=a"));
        assert!(!passes("/items/a?page=1"));
        assert!(passes("/livez?anything=goes"));
        assert!(!passes("/items/a/b") && !passes("/nothing"));
    }
}
