//! The registry of metrics, which `GET /metrics` tells Prometheus. Each part of the service registers
//! its own. No label grows with keys or clients.

use std::sync::Mutex;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, core::Collector,
};

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;

/// All metrics of the process.
pub(crate) struct Metrics {
    registry: Registry,
    scraped_gauges: Mutex<Vec<ScrapedGauge>>,
}

/// Asks for the value of a gauge, and sets it.
type ScrapedGauge = Box<dyn Fn() + Send + Sync>;

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            scraped_gauges: Mutex::default(),
        };
        let build = Opts::new("kvd_build_info", "The version of kvd.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        metrics.register(IntGauge::with_opts(build)).set(1);
        // What Prometheus' own libraries tell of a process: memory, descriptors, processor time.
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("every name is registered once");
        metrics
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// A gauge whose value is asked for at each scrape, before any other metric is read: what is
    /// counted while the answer is found belongs to the same scrape.
    pub(crate) fn scraped_gauge<N: TryInto<i64>>(
        &self,
        name: &str,
        help: &str,
        ask: impl Fn() -> N + Send + Sync + 'static,
    ) {
        let gauge = self.gauge(name, help);
        self.scraped_gauges
            .lock()
            .expect("asking for a value does not panic")
            .push(Box::new(move || {
                gauge.set(ask().try_into().unwrap_or(i64::MAX));
            }));
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(crate) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A counter that is older than the registry.
    pub(super) fn adopt(&self, counter: IntCounter) {
        self.register(Ok(counter));
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
        let scraped = self.scraped_gauges.lock();
        for set in scraped.expect("asking for a value does not panic").iter() {
            set();
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory succeeds");
        String::from_utf8(text).expect("the encoder writes UTF-8")
    }

    fn register<T: Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        let collector = made.expect("names, labels and buckets are valid constants");
        self.registry
            .register(Box::new(collector.clone()))
            .expect("every name is registered once");
        collector
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_while_a_gauge_is_asked_for_belongs_to_the_same_scrape() {
        for _ in 0..20 {
            // The registry reads its metrics in an order of its own, another one each time.
            let metrics = Metrics::new();
            let forgotten = metrics.counter("forgotten_total", "Counted by the question.");
            metrics.scraped_gauge("clients", "Whose question counts.", move || {
                forgotten.inc();
                1_u64
            });
            let text = metrics.text();
            assert!(text.contains("\nforgotten_total 1\n"), "{text}");
        }
    }
}
