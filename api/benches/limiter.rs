//! One decision of the limiter about a known client, with a million clients in the table and as many
//! threads as cores: `cargo bench -p api --bench limiter`.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use api::rate_limit::{RateLimiter, window::Quota};
use criterion::{Criterion, criterion_group, criterion_main};
use prometheus::IntCounter;

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
    let limiter = RateLimiter::new(quota, 2 * u64::from(CLIENTS), evictions);
    for number in 0..CLIENTS {
        limiter.admit(client(number));
    }
    limiter
}

/// Each thread makes so many decisions; how long they took.
fn decide(limiter: &RateLimiter, decisions: u64, who: impl Fn(u64, u64) -> u32 + Sync) -> Duration {
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let begun = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let who = &who;
            scope.spawn(move || {
                for decision in 0..decisions {
                    std::hint::black_box(limiter.admit(client(who(thread, decision))));
                }
            });
        }
    });
    begun.elapsed()
}

fn decisions(criterion: &mut Criterion) {
    let limiter = limiter(60);
    // Multiplying by an odd number visits the table in no order the caches could guess.
    let spread = |thread: u64, n: u64| ((n * 2 + thread) as u32).wrapping_mul(2_654_435_761);
    criterion.bench_function("a decision, clients spread out", |bencher| {
        bencher.iter_custom(|n| decide(&limiter, n, spread));
    });
    criterion.bench_function("a decision, one hot client", |bencher| {
        bencher.iter_custom(|n| decide(&limiter, n, |_, _| 7));
    });
}

criterion_group!(benches, decisions);
criterion_main!(benches);
