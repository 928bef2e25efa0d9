//! What `GET /metrics` tells Prometheus. No label grows with keys or clients.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use poem::{
    Response, handler,
    http::{Method, StatusCode},
    web::Data,
};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder, core::Collector,
};

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;

use crate::{database::Database, rate_limit::RateLimiter, routes::Route};

/// Upper bounds of the buckets of request durations, in seconds.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Upper bounds of the buckets of batches, in calls sent together.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
    /// Client connections that are open.
    pub connections: IntGauge,
    pub limiter_admitted: IntCounter,
    pub limiter_refused: IntCounter,
    pub limiter_evictions: IntCounter,
    limiter_clients: IntGauge,
    /// Reads of keys, and writes, that were sent together.
    pub read_batches: Histogram,
    pub write_batches: Histogram,
    database_up: IntGauge,
    calls: IntGauge,
    locked_writes: IntGauge,
    pool_connections: IntGauge,
    pool_idle: IntGauge,
    pool_max: IntGauge,
    sources: OnceLock<Sources>,
}

/// What is asked when somebody scrapes.
struct Sources {
    database: Database,
    limiter: Option<Arc<RateLimiter>>,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels);
            register(&registry, counters)
        };
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help));
        let duration = HistogramOpts::new(
            "kvd_http_request_duration_seconds",
            "Time from a request's head to its answer.",
        )
        .buckets(BUCKETS.to_vec());
        let decisions = counters(
            "kvd_rate_limit_decisions_total",
            "Requests the limiter admitted or refused.",
            &["decision"],
        );
        let batches = HistogramOpts::new(
            "kvd_database_batch_size",
            "Calls that were sent to the database together.",
        )
        .buckets(BATCH_BUCKETS.to_vec());
        let batches = register(&registry, HistogramVec::new(batches, &["kind"]));
        let build = Opts::new("kvd_build_info", "The version of kvd.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, IntGauge::with_opts(build)).set(1);
        // What Prometheus' own libraries tell of a process: memory, descriptors, processor time.
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("every name is registered once");
        Self {
            requests: counters(
                "kvd_http_requests_total",
                "Requests answered.",
                &["route", "method", "status"],
            ),
            duration: register(&registry, HistogramVec::new(duration, &["route", "method"])),
            in_flight: gauge("kvd_http_requests_in_flight", "Requests being answered."),
            connections: gauge("kvd_http_connections", "Client connections that are open."),
            limiter_admitted: decisions.with_label_values(&["admitted"]),
            limiter_refused: decisions.with_label_values(&["refused"]),
            limiter_evictions: register(
                &registry,
                IntCounter::new(
                    "kvd_rate_limit_live_evictions_total",
                    "Clients forgotten for want of room while their window was not over.",
                ),
            ),
            limiter_clients: gauge("kvd_rate_limit_clients", "Clients the limiter remembers."),
            read_batches: batches.with_label_values(&["read"]),
            write_batches: batches.with_label_values(&["write"]),
            database_up: gauge(
                "kvd_database_up",
                "0 since the database was lost, 1 when it is back.",
            ),
            calls: gauge(
                "kvd_database_calls",
                "Calls that wait for the database or are being done by it.",
            ),
            locked_writes: gauge(
                "kvd_database_locked_writes",
                "Writes that wait for a key that others write or have locked.",
            ),
            pool_max: gauge(
                "kvd_database_connections_max",
                "The most connections to the database.",
            ),
            pool_connections: gauge("kvd_database_connections", "Connections to the database."),
            pool_idle: gauge(
                "kvd_database_connections_idle",
                "Connections to the database that nobody uses.",
            ),
            registry,
            sources: OnceLock::new(),
        }
    }

    /// Names what to ask when somebody scrapes.
    pub fn watch(&self, database: Database, limiter: Option<Arc<RateLimiter>>) {
        self.sources.get_or_init(|| Sources { database, limiter });
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_begins(&self) -> InFlight {
        InFlight::enter(&self.in_flight)
    }

    pub fn request_ends(&self, route: Route, method: &Method, status: StatusCode, taken: Duration) {
        let method = known(method);
        let labels = [route.template(), method, status.as_str()];
        self.requests.with_label_values(&labels).inc();
        self.duration
            .with_label_values(&labels[..2])
            .observe(taken.as_secs_f64());
    }

    fn text(&self) -> String {
        if let Some(Sources { database, limiter }) = self.sources.get() {
            let line = database.line();
            let (all, idle) = line.pool.sessions();
            let clients = limiter.as_ref().map_or(0, |limiter| limiter.clients());
            set(&self.pool_connections, all);
            set(&self.pool_idle, idle);
            set(&self.pool_max, line.pool.size());
            set(&self.calls, line.calls());
            set(&self.locked_writes, database.locked_writes());
            set(&self.database_up, u8::from(!line.is_lost()));
            set(&self.limiter_clients, clients);
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory succeeds");
        String::from_utf8(text).expect("the encoder writes UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<T: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<T>) -> T {
    let collector = made.expect("names, labels and buckets are valid constants");
    registry
        .register(Box::new(collector.clone()))
        .expect("every name is registered once");
    collector
}

fn set(gauge: &IntGauge, count: impl TryInto<i64>) {
    gauge.set(count.try_into().unwrap_or(i64::MAX));
}

/// One more in a gauge, as long as it lives.
pub struct InFlight(IntGauge);

impl InFlight {
    pub fn enter(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Methods are chosen by clients, so unknown ones share a label.
fn known(method: &Method) -> &'static str {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ]
    .iter()
    .zip(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
    .find(|(known, _)| *known == method)
    .map_or("other", |(_, name)| name)
}

#[handler]
pub(crate) fn metrics(Data(metrics): Data<&Arc<Metrics>>) -> Response {
    Response::builder()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.text())
}
