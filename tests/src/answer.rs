//! An answer of kvd's, whichever client got it.

use std::collections::BTreeMap;

use reqwest::{StatusCode, Url, header::HeaderMap};
use serde_json::Value;

/// Status, headers and the whole body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked, for the messages of failures.
    pub asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header that comes once at most.
    ///
    /// # Panics
    ///
    /// If it comes more often, or is no text.
    #[track_caller]
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.get_all(name).iter();
        let line = lines.next()?;
        assert!(lines.next().is_none(), "{name} comes twice: {self:?}");
        Some(line.to_str().expect("a header is text"))
    }

    /// Itself, if it has this status.
    ///
    /// # Panics
    ///
    /// If it has another.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}: {} instead of {status}: {}",
            self.asked,
            self.status,
            self.excerpt()
        );
        self
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    #[track_caller]
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_else(|e| panic!("{}: {e}", self.asked))
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is something else.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{}: {e}: {}", self.asked, self.excerpt()))
    }

    /// A text member of the body.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    #[must_use]
    pub fn member(&self, name: &str) -> String {
        match &self.json()[name] {
            Value::String(text) => text.clone(),
            other => panic!("{}: member {name} is {other}", self.asked),
        }
    }

    /// The `ETag` header, quotes and all.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    #[must_use]
    pub fn etag(&self) -> String {
        match self.header("etag") {
            Some(tag) => tag.to_owned(),
            None => panic!("{}: {} without ETag", self.asked, self.status),
        }
    }

    /// The `Link` header (RFC 8288): the target of each relation, resolved against the request as a client would.
    ///
    /// # Panics
    ///
    /// If it is malformed, or not relative.
    #[track_caller]
    #[must_use]
    pub fn links(&self) -> BTreeMap<String, String> {
        let asked = self.asked.split(' ').nth(1).expect("a path");
        let base = Url::parse("http://kvd")
            .and_then(|url| url.join(asked))
            .expect("a URL");
        let header = self.header("link").unwrap_or_default();
        let link = |link: &str| {
            let (target, relation) = link.trim().split_once('>').expect("<target>");
            let target = target.strip_prefix('<').expect("<target>");
            assert!(!target.contains("://"), "{target} is not relative");
            let url = base.join(target).expect("a relative reference");
            let relation = relation
                .trim_start_matches([';', ' '])
                .strip_prefix("rel=")
                .expect("rel=");
            let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
            (relation.trim_matches('"').to_owned(), path)
        };
        header
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(link)
            .collect()
    }

    /// The problem document, if it is this one.
    ///
    /// # Panics
    ///
    /// If status or code are others, or it is none as RFC 9457 and the contract have it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}: {} instead of {status} {code}: {}",
            self.asked,
            self.status,
            self.excerpt()
        );
        let problem = self.check_problem();
        assert_eq!(problem["code"], code, "{}: {problem}", self.asked);
        problem
    }

    /// The shape all problem documents have.
    #[track_caller]
    pub(crate) fn check_problem(&self) -> Value {
        let kind = self.header("content-type");
        assert_eq!(
            kind,
            Some("application/problem+json"),
            "{}: {}: {}",
            self.asked,
            self.status,
            self.excerpt()
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{}: {problem}", self.asked);
        for member in ["type", "title", "detail", "code"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{}: no {member} in {problem}",
                self.asked
            );
        }
        if problem["type"] == "about:blank" {
            let status = StatusCode::from_u16(self.status).expect("a status");
            let phrase = status.canonical_reason().expect("a registered status");
            assert_eq!(problem["title"], phrase, "{}", self.asked);
        }
        problem
    }

    fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().take(400).collect()
    }
}
