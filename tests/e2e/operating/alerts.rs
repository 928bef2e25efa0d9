//! What the handbook's alerts ask for is what kvd tells.

use std::{collections::BTreeSet, fs, path::Path};

use tests::Env;

tests::list! {
    Once => every_metric_and_label_of_the_alerts_is_told
}

async fn every_metric_and_label_of_the_alerts_is_told(env: Env) {
    let kvd = env.kvd().env("RATE_LIMIT", "2").start().await;
    for status in [200, 200, 429] {
        let _answer = kvd.get("/items/").await.expect(status);
    }
    let told = kvd.get("/metrics").await.expect(200);
    let samples: Vec<&str> = told.text().lines().collect();
    let asked = asked();
    assert!(asked.len() > 8, "{asked:?}");
    for (metric, label) in asked {
        let told = samples.iter().any(|sample| {
            let rest = sample.strip_prefix(metric.as_str());
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(&label))
        });
        assert!(told, "nobody tells {metric}{{{label}…}}");
    }
}

/// Each metric of the alerts with each of its labels (`name="`), and alone.
fn asked() -> BTreeSet<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating/alerts.yml");
    let rules = fs::read_to_string(file).expect("the alerts");
    let mut asked = BTreeSet::new();
    for (at, _) in rules.match_indices("kvd_") {
        let rest = &rules[at..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (metric, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        asked.insert((metric.to_owned(), String::new()));
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for matcher in matchers.map_or("", |(inside, _)| inside).split(',') {
            if let Some((label, _)) = matcher.split_once('=') {
                asked.insert((metric.to_owned(), format!("{label}=\"")));
            }
        }
    }
    asked
}
