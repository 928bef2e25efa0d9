//! One decision of the limiter about a known client, with a million clients in the table and as many
//! threads as cores; and the part of its cache, which only finds the client:
//! `cargo bench -p api --bench limiter`.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use api::{Quota, RateLimiter};
use criterion::{Criterion, criterion_group, criterion_main};
use foldhash::quality::RandomState;
use moka::{policy::EvictionPolicy, sync::Cache};
use prometheus::IntCounter;

/// As in `kvd`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CLIENTS: u32 = 1_000_000;

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number % CLIENTS).into()
}

fn limiter(limit: u32) -> RateLimiter {
    let quota = Quota {
        limit,
        window: Duration::from_mins(60),
    };
    let evictions = IntCounter::new("evictions", "of live windows").expect("a counter");
    let limiter = RateLimiter::new(quota, 3 * u64::from(CLIENTS), evictions);
    for number in 0..CLIENTS {
        limiter.admit(client(number));
    }
    limiter
}

fn cache() -> Cache<IpAddr, Arc<()>, RandomState> {
    let cache = Cache::builder()
        .max_capacity(3 * u64::from(CLIENTS))
        .eviction_policy(EvictionPolicy::lru())
        .time_to_idle(Duration::from_mins(60))
        .build_with_hasher(RandomState::default());
    for number in 0..CLIENTS {
        cache.insert(client(number), Arc::default());
    }
    cache
}

/// Each thread asks so often; how long that took.
fn ask<T>(
    times: u64,
    who: impl Fn(u64, u64) -> u32 + Sync,
    asked: impl Fn(IpAddr) -> T + Sync,
) -> Duration {
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let begun = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (who, asked) = (&who, &asked);
            scope.spawn(move || {
                for n in 0..times {
                    std::hint::black_box(asked(client(who(thread, n))));
                }
            });
        }
    });
    begun.elapsed()
}

fn decisions(criterion: &mut Criterion) {
    let (limiter, cache) = (limiter(60), cache());
    let decide = |address| limiter.admit(address);
    let find = |address| cache.get(&address);
    let hot = |_, _| 7;
    // Multiplying by an odd number visits the table in no order the caches could guess.
    let spread = |thread: u64, n: u64| ((n * 2 + thread) as u32).wrapping_mul(2_654_435_761);
    criterion.bench_function("a decision, clients spread out", |bencher| {
        bencher.iter_custom(|n| ask(n, spread, decide));
    });
    criterion.bench_function("its cache alone, clients spread out", |bencher| {
        bencher.iter_custom(|n| ask(n, spread, find));
    });
    criterion.bench_function("a decision, one hot client", |bencher| {
        bencher.iter_custom(|n| ask(n, hot, decide));
    });
    criterion.bench_function("its cache alone, one hot client", |bencher| {
        bencher.iter_custom(|n| ask(n, hot, find));
    });
}

criterion_group!(benches, decisions);
criterion_main!(benches);
