//! The registry of metrics, which `GET /metrics` tells Prometheus. Each part of the service registers
//! its own. No label grows with keys or clients.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;

/// All metrics of the process.
pub(crate) struct Metrics(Registry);

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self(Registry::new());
        let build = Opts::new("kvd_build_info", "The version of kvd.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        metrics.register(IntGauge::with_opts(build)).set(1);
        // What Prometheus' own libraries tell of a process: memory, descriptors, processor time.
        #[cfg(target_os = "linux")]
        metrics
            .0
            .register(Box::new(ProcessCollector::for_self()))
            .expect("every name is registered once");
        metrics
    }
}

impl Metrics {
    pub(crate) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// A gauge whose value is asked for at each scrape.
    pub(crate) fn scraped_gauge<N: TryInto<i64>>(
        &self,
        name: &str,
        help: &str,
        ask: impl Fn() -> N + Send + Sync + 'static,
    ) {
        let gauge = IntGauge::new(name, help).expect("name and help are valid constants");
        self.0
            .register(Box::new(ScrapedGauge { gauge, ask }))
            .expect("every name is registered once");
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(crate) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Histograms with these upper bounds of their buckets.
    pub(crate) fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, labels))
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.0.gather(), &mut text)
            .expect("writing to memory succeeds");
        String::from_utf8(text).expect("the encoder writes UTF-8")
    }

    fn register<T: Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        let collector = made.expect("names, labels and buckets are valid constants");
        self.0
            .register(Box::new(collector.clone()))
            .expect("every name is registered once");
        collector
    }
}

struct ScrapedGauge<A> {
    gauge: IntGauge,
    ask: A,
}

impl<N: TryInto<i64>, A: Fn() -> N + Send + Sync> Collector for ScrapedGauge<A> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.ask)().try_into().unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

/// One more in a gauge, as long as it lives.
pub(crate) struct InFlight(IntGauge);

impl InFlight {
    pub(crate) fn enter(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
