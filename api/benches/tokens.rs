//! The check of a known token, from the header of a request to its rules: `cargo bench -p api --bench tokens`.

use std::{hint::black_box, sync::Arc};

use api::{Recalled, TokenCache, bearer};
use criterion::{Criterion, criterion_group, criterion_main};
use entity::{
    Key,
    token::{Access, FoundToken, Secret},
};
use poem::http::{HeaderMap, HeaderValue, header};
use tokio::time::Instant;

/// As in `kvd`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn token() -> Arc<FoundToken> {
    let rules = r#"[{"prefix":"a/","access":"read"},{"prefix":"app/","access":"write"}]"#;
    Arc::new(FoundToken {
        name: "app".to_owned(),
        rules: serde_json::from_str(rules).expect("rules"),
        expires_at: None,
    })
}

fn tokens(criterion: &mut Criterion) {
    let cache = TokenCache::default();
    let secret = Secret::generate().expect("random bytes");
    let line = HeaderValue::try_from(format!("Bearer {}", secret.reveal())).expect("ASCII");
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, line)]);
    let key = Key::new("app/settings").expect("a key");
    criterion.bench_function("known", |bencher| {
        cache.remember(&secret, Instant::now(), Some(token()));
        bencher.iter(|| {
            let secret = bearer(black_box(&headers)).expect("a token");
            match cache.recall(&secret) {
                Recalled::Live {
                    token: known,
                    stale,
                } => {
                    if stale {
                        cache.remember(&secret, Instant::now(), Some(known.clone()));
                    }
                    assert!(known.rules.allow(Access::Read, &key));
                }
                _ => cache.remember(&secret, Instant::now(), Some(token())),
            }
        });
    });
    let typo = format!("Bearer {}0", &secret.reveal()[..39]);
    let line = HeaderValue::try_from(typo).expect("ASCII");
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, line)]);
    criterion.bench_function("mistyped", |bencher| {
        bencher.iter(|| bearer(black_box(&headers)));
    });
}

criterion_group!(benches, tokens);
criterion_main!(benches);
