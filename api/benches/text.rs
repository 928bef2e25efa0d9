//! What is read and written as text in each request: `cargo bench -p api --bench text`.

use std::hint::black_box;

use api::{Comparison, entity_tags};
use criterion::{Criterion, criterion_group, criterion_main};
use entity::{ETag, Prefix, read::Cursor};
use poem::http::HeaderValue;

fn text(criterion: &mut Criterion) {
    let prefix = Prefix::new("users/").expect("a prefix");
    let cursor = Cursor::new(&prefix, "users/000123456");
    let encoded = cursor.encode();
    criterion.bench_function("encode a cursor", |bencher| {
        bencher.iter(|| black_box(&cursor).encode());
    });
    criterion.bench_function("decode a cursor", |bencher| {
        bencher.iter(|| Cursor::decode(black_box(&encoded)));
    });
    let tag = ETag {
        id: 1_234_567,
        version: 42,
    };
    let one = HeaderValue::from_static("\"1234567-42\"");
    let many = HeaderValue::from_static("\"1-1\", W/\"2-2\", \"1234567-42\"");
    criterion.bench_function("write a tag", |bencher| {
        bencher.iter(|| black_box(&tag).to_string());
    });
    for (name, list) in [("read a tag", &one), ("read a list of tags", &many)] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| entity_tags([black_box(list)], Comparison::Strong));
        });
    }
}

criterion_group!(benches, text);
criterion_main!(benches);
