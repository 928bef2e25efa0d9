//! Every URL and the order of the middleware.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use poem::{
    Endpoint, EndpointExt, Request, Response, Result, endpoint::BoxEndpoint, get, handler,
    http::Method, web::Redirect,
};
use poem_openapi::OpenApi;
use tokio::{sync::watch, time::Instant};

use crate::{
    config::Config,
    database::Database,
    document,
    drain::Drain,
    errors::Errors,
    explorer::{self, Explorer},
    health::{self, Readiness},
    items::Items,
    json::RequestLimits,
    metrics::Metrics,
    observe::Observe,
    rate_limit::{RateLimiter, middleware::RateLimit, window::Quota},
    resource::Resource,
    server::Phase,
};

/// The address of the client, resolved once for each request.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// The resources of kvd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    Items,
    Item,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
    Docs,
    Root,
    Unknown,
}

impl Route {
    /// The resource at a path.
    pub fn of(path: &str) -> Self {
        match path {
            "/items" | "/items/" => Self::Items,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::OpenApi,
            "/docs" => Self::Docs,
            "/" => Self::Root,
            _ if Self::key(path).is_some() => Self::Item,
            _ => Self::Unknown,
        }
    }

    /// The key in the path of an item, as it is encoded there.
    pub fn key(path: &str) -> Option<&str> {
        let key = path.strip_prefix("/items/")?;
        (!key.is_empty() && !key.contains('/')).then_some(key)
    }

    /// Its path as the document writes it; what logs and metrics say instead of the raw path.
    pub fn template(self) -> &'static str {
        match self {
            Self::Items => "/items/",
            Self::Item => "/items/{key}",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Docs => "/docs",
            Self::Root => "/",
            Self::Unknown => "unknown",
        }
    }

    pub fn methods(self) -> &'static [Method] {
        match self {
            Self::Items => &[Method::GET, Method::HEAD, Method::POST],
            Self::Item => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// Whether the limiter counts requests to the path: all of `/items` and below.
    pub fn is_limited(path: &str) -> bool {
        path == "/items" || path.starts_with("/items/")
    }
}

/// The endpoints of the two listeners.
pub struct Endpoints {
    pub public: BoxEndpoint<'static, Response>,
    pub admin: BoxEndpoint<'static, Response>,
}

/// Builds everything that answers requests.
pub fn endpoints(
    config: &Config,
    database: Database,
    metrics: &Arc<Metrics>,
    phase: watch::Receiver<Phase>,
) -> Endpoints {
    let readiness = Arc::new(Readiness::new(database.clone(), phase));
    let limiter = (config.rate_limit > 0).then(|| {
        let quota = Quota {
            limit: config.rate_limit,
            window: config.rate_limit_window,
        };
        let evictions = metrics.limiter_evictions.clone();
        let limiter = RateLimiter::new(quota, config.rate_limit_max_clients, evictions);
        Arc::new(limiter)
    });
    metrics.watch(database.clone(), limiter.clone());

    let items = Items::new(database, config);
    let page = Explorer::new(&document::service(items.clone(), config), config);

    let operations = || {
        poem::Route::new()
            .at("/livez", get(health::livez))
            .at("/readyz", get(health::readyz).data(readiness.clone()))
            .at(
                "/metrics",
                get(crate::metrics::metrics).data(metrics.clone()),
            )
    };
    let others = match config.admin_listen {
        Some(_) => poem::Route::new(),
        None => operations(),
    }
    .at("/", get(root))
    .at("/docs", get(explorer::docs).data(page.clone()))
    .at("/openapi.json", get(explorer::openapi).data(page));
    let public = Public {
        items: operations_of(items),
        body_bytes: entity::max_json_bytes(config.max_value_bytes as usize),
        request_timeout: config.request_timeout,
        others,
    };

    Endpoints {
        public: around(public, limiter, config, metrics),
        admin: around(operations(), None, config, metrics),
    }
}

/// The middleware. From the outside in: what stands first sees the request first and the answer last.
fn around(
    routes: impl Endpoint<Output = Response> + 'static,
    limiter: Option<Arc<RateLimiter>>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> BoxEndpoint<'static, Response> {
    let errors = Errors {
        inner: routes,
        resource: Resource::of::<Items>(),
    };
    let limited = RateLimit {
        inner: errors,
        limiter,
        admitted: metrics.limiter_admitted.clone(),
        refused: metrics.limiter_refused.clone(),
    };
    let drained = Drain { inner: limited };
    Observe {
        inner: drained,
        trusted_proxies: config.trusted_proxies.clone(),
        client_ip_header: config.client_ip_header.clone(),
        metrics: metrics.clone(),
    }
    .boxed()
}

/// Where an operation of the document is answered.
struct ItemOperation {
    route: Route,
    method: Method,
    endpoint: BoxEndpoint<'static, Response>,
}

fn operations_of(items: Items) -> Vec<ItemOperation> {
    let mut paths = HashMap::new();
    items.add_routes(&mut paths);
    let mut operations = Vec::new();
    for (path, methods) in paths {
        operations.extend(methods.into_iter().map(|(method, endpoint)| ItemOperation {
            route: Route::of(&path),
            method,
            endpoint,
        }));
    }
    operations
}

/// The operations on items are found without the framework's router, which would take a read a tenth
/// to a fifth more of kvd's own time.
struct Public {
    items: Vec<ItemOperation>,
    body_bytes: usize,
    request_timeout: Duration,
    others: poem::Route,
}

impl Endpoint for Public {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let (route, method) = (Route::of(request.uri().path()), request.method());
        let named =
            |operation: &&ItemOperation| operation.route == route && operation.method == method;
        let Some(operation) = self.items.iter().find(named) else {
            return self.others.call(request).await;
        };
        if request.method() != Method::GET {
            request.set_data(RequestLimits {
                body_bytes: self.body_bytes,
                request_timeout: self.request_timeout,
                deadline: Instant::now() + self.request_timeout,
            });
        }
        operation.endpoint.call(request).await
    }
}

#[handler]
fn root() -> Redirect {
    Redirect::temporary("/docs")
}
