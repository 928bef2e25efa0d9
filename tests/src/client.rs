//! An ordinary HTTP client of kvd. It holds every answer to what the contract says of all of them.

use std::{
    future::{Future, IntoFuture},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use reqwest::{Method, RequestBuilder, header, redirect::Policy};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    answer::Answer,
    pace::{PATIENCE, timeout},
    secrets::assert_no_secret,
};

/// The path of an item: its key as one percent-encoded segment, all but unreserved characters encoded (RFC 3986).
///
/// `.` and `..` cannot be said this way, encoded or not: every URL library takes them away. Use [`crate::Wire`].
#[must_use]
pub fn item(key: &str) -> String {
    let mut path = "/items/".to_owned();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Speaks to one address of a kvd, following no redirect.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    http: reqwest::Client,
    token: Option<String>,
}

impl Client {
    /// # Panics
    ///
    /// If the client cannot be made.
    #[must_use]
    pub fn new(address: SocketAddr, local: Option<IpAddr>) -> Self {
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .local_address(local)
            .build()
            .expect("a client without TLS can always be made");
        Self {
            address,
            http,
            token: None,
        }
    }

    /// The same client with a token, which it sends with every request.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request; `.await` sends it.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Call {
        let url = format!("http://{}{path}", self.address);
        Call {
            asked: format!("{method} {path}"),
            request: match &self.token {
                Some(token) => self.http.request(method, url).bearer_auth(token),
                None => self.http.request(method, url),
            },
        }
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    #[must_use]
    pub fn head(&self, path: &str) -> Call {
        self.request(Method::HEAD, path)
    }

    #[must_use]
    pub fn delete(&self, path: &str) -> Call {
        self.request(Method::DELETE, path)
    }

    /// `PUT` of a value.
    #[must_use]
    pub fn put(&self, path: &str, value: &str) -> Call {
        self.request(Method::PUT, path)
            .json(&json!({"value": value}))
    }

    /// `POST` of a key and a value.
    #[must_use]
    pub fn post(&self, key: &str, value: &str) -> Call {
        self.request(Method::POST, "/items/")
            .json(&json!({"key": key, "value": value}))
    }

    /// Creates an item, which must succeed.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn create(&self, key: &str, value: &str) -> Answer {
        self.post(key, value).await.expect(201)
    }

    /// Creates many items with an empty value.
    ///
    /// # Panics
    ///
    /// If one cannot be created.
    pub async fn create_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            let _created = self.create(key.as_ref(), "").await;
        }
    }

    /// Waits until kvd is ready; it asks its database once a second at most.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn ready(&self) {
        let asked = async {
            while self.get("/readyz").await.status != 200 {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, asked).await.expect("kvd becomes ready");
    }

    /// The value of a metric without labels.
    ///
    /// # Panics
    ///
    /// If there is none by this name.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = self.get("/metrics").await.expect(200);
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        let found = answer.text().lines().find_map(value);
        found.unwrap_or_else(|| panic!("no metric {name}"))
    }
}

/// A request being put together.
pub struct Call {
    asked: String,
    request: RequestBuilder,
}

impl Call {
    /// One more header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// A body with its media type.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header(header::CONTENT_TYPE.as_str(), "application/json")
            .body(body.to_string())
    }

    /// A body as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// What is asked, for messages: method and path.
    #[must_use]
    pub fn asked(&self) -> &str {
        &self.asked
    }

    async fn send(self) -> Answer {
        let asked = self.asked.clone();
        match self.attempt().await {
            Ok(answer) => answer,
            Err(e) => panic!("{asked}: {e:?}"),
        }
    }

    /// Sends it to a kvd that may end meanwhile.
    ///
    /// # Errors
    ///
    /// If no answer came, or not all of it.
    ///
    /// # Panics
    ///
    /// If nothing comes of it at all.
    pub async fn attempt(self) -> Result<Answer, reqwest::Error> {
        let asked = self.asked.clone();
        let answered = timeout(PATIENCE, self.answer()).await;
        answered.unwrap_or_else(|_| panic!("{asked}: nothing came for {PATIENCE:?}"))
    }

    async fn answer(self) -> Result<Answer, reqwest::Error> {
        let response = self.request.send().await?;
        let answer = Answer {
            asked: self.asked,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        };
        check(&answer);
        Ok(answer)
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What the contract says of every answer, so that every test of the suite is a test of it.
fn check(answer: &Answer) {
    let asked = &answer.asked;
    assert_no_secret(asked, &String::from_utf8_lossy(&answer.body));
    assert_no_secret(asked, &format!("{:?}", answer.headers));
    let id = answer.header("x-request-id");
    assert!(
        id.is_some_and(|id| !id.is_empty()),
        "{asked}: no X-Request-Id"
    );
    assert_eq!(
        answer.header("x-content-type-options"),
        Some("nosniff"),
        "{asked}: X-Content-Type-Options"
    );
    if asked.starts_with("HEAD ") || matches!(answer.status, 204 | 304) {
        assert!(
            answer.body.is_empty(),
            "{asked}: {} with a body",
            answer.status
        );
    } else if answer.status >= 400 && !asked.ends_with(" /readyz") {
        answer.check_problem();
    }
    assert_eq!(
        answer.header("cache-control"),
        Some(caching(answer)),
        "{asked}: {}: Cache-Control",
        answer.status
    );
}

/// What may be kept of an answer: one about items, and the explorer with its document, if it is asked for again.
fn caching(answer: &Answer) -> &'static str {
    let target = answer.asked.split(' ').nth(1).expect("a path");
    let path = target.split('?').next().unwrap_or_default();
    let about_items = match path.strip_prefix("/items") {
        Some(rest) => rest.is_empty() || rest.starts_with('/') && !rest[1..].contains('/'),
        None => path == "/batch",
    };
    let explorer = ["/docs", "/openapi.json"].contains(&path);
    match answer.status {
        401 | 403 | 421 | 429 => "no-store",
        404 if answer.text().contains("route-not-found") => "no-store",
        _ if about_items => "no-cache",
        200 if explorer => "no-cache",
        _ => "no-store",
    }
}
