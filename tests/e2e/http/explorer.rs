//! The explorer in a real browser: a newcomer's first calls, without internet.

use serde_json::Value;
use tests::{
    Engine, Env, Kvd,
    browser::{Browser, Screen},
};
use thirtyfour::{
    By, WebElement,
    error::WebDriverResult,
    extensions::query::{ElementQueryable, ElementWaitable},
};

tests::list! {
    // Not `Once`: a run without SQLite needs no browser.
    Only(Engine::Sqlite) =>
        create_read_page_conflict_and_429_can_be_tried_without_internet,
        every_example_succeeds_as_it_stands,
        a_token_that_was_given_to_authorize_is_sent,
        every_call_shows_its_errors_limits_and_headers,
        on_a_phone_nothing_scrolls_sideways_and_a_call_can_be_tried
}

/// The explorer of a kvd, opened by a browser.
struct Explorer {
    browser: Browser,
    origin: String,
}

impl Explorer {
    async fn open(env: &Env, kvd: &Kvd, screen: Screen) -> WebDriverResult<Self> {
        let browser = Browser::open(env, screen).await;
        let origin = format!("http://{}/", kvd.address());
        browser.goto(format!("{origin}docs")).await?;
        Ok(Self { browser, origin })
    }

    /// The operations in the order of the page, by their ids.
    async fn operations(&self) -> WebDriverResult<Vec<String>> {
        let blocks = self.browser.query(By::ClassName("opblock"));
        let mut ids = Vec::new();
        for block in blocks.all_from_selector_required().await? {
            let id = block.id().await?.expect("an operation has an id");
            ids.push(id.rsplit('-').next().expect("a part").to_owned());
        }
        Ok(ids)
    }

    async fn operation(&self, id: &str) -> WebDriverResult<Operation> {
        let block = By::Css(format!("[id^='operations-'][id$='-{id}']"));
        let block = self.browser.query(block).first().await?;
        Ok(Operation(block))
    }

    /// The operation unfolded and ready to be tried.
    async fn try_out(&self, id: &str) -> WebDriverResult<Operation> {
        let operation = self.operation(id).await?;
        operation.unfold().await?;
        operation.press("Try it out").await?;
        Ok(operation)
    }

    /// No server but kvd was asked, and the console got these complaints only, given by their ends.
    async fn expect_complaints(&self, expected: &[&str]) -> WebDriverResult<()> {
        let requested = self.browser.requested().await?;
        assert!(
            requested.contains(&format!("{}docs", self.origin)),
            "{requested:?}"
        );
        let elsewhere: Vec<_> = requested
            .iter()
            .filter(|url| !url.starts_with(&self.origin))
            .collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?}");

        let complaints = self.browser.complaints().await?;
        let as_expected = complaints.len() == expected.len()
            && complaints.iter().zip(expected).all(|(a, b)| a.ends_with(b));
        assert!(as_expected, "the console got {complaints:#?}");
        Ok(())
    }
}

/// What the browser says to the console when an answer is an error, whatever the page does with it.
const CONFLICT: &str =
    "/items/ - Failed to load resource: the server responded with a status of 409 (Conflict)";
const TOO_MANY: &str = "/items/greeting - Failed to load resource: the server responded with a status \
                        of 429 (Too Many Requests)";

const UNAUTHORIZED: &str =
    "/whoami - Failed to load resource: the server responded with a status of 401 (Unauthorized)";
const FORBIDDEN: &str = "/items/greeting - Failed to load resource: the server responded with a status of 403 \
                         (Forbidden)";

/// An operation on the page.
struct Operation(WebElement);

impl Operation {
    async fn unfold(&self) -> WebDriverResult<()> {
        let heading = self.0.query(By::ClassName("opblock-summary-control"));
        heading.first().await?.click().await
    }

    /// Clicks the button that says so.
    async fn press(&self, button: &str) -> WebDriverResult<()> {
        let button = By::XPath(format!(".//button[normalize-space()='{button}']"));
        let button = self.0.query(button).and_displayed().first().await?;
        button.wait_until().clickable().await?;
        button.click().await
    }

    /// Sends it; the answer as the page shows it, as soon as that is one of this status.
    async fn execute(&self, status: &str) -> WebDriverResult<String> {
        self.press("Execute").await?;
        let row = format!(
            ".//table[contains(@class,'live-responses-table')]\
             //tr[td[1][starts-with(normalize-space(),'{status}')]]"
        );
        let row = self.0.query(By::XPath(row)).and_displayed();
        match row.first_opt().await? {
            Some(row) => row.text().await,
            None => panic!("no {status} in: {}", self.0.text().await?),
        }
    }
}

fn shows(text: &str, part: &str) {
    assert!(text.contains(part), "{part} is not in: {text}");
}

async fn create_read_page_conflict_and_429_can_be_tried_without_internet(env: Env) {
    let kvd = env.kvd().env("RATE_LIMIT", "4").start().await;
    try_five_calls(&env, &kvd).await.expect("the page");
}

async fn try_five_calls(env: &Env, kvd: &Kvd) -> WebDriverResult<()> {
    let explorer = Explorer::open(env, kvd, Screen::Desktop).await?;

    let create = explorer.try_out("create_item").await?;
    let created = create.execute("201").await?;
    shows(&created, "\"key\": \"greeting\"");
    shows(&created, "location: /items/greeting");
    shows(&created, "etag: \"1-1\"");

    let get = explorer.try_out("get_item").await?;
    let read = get.execute("200").await?;
    shows(&read, "\"value\": \"hello\"");
    shows(&read, "ratelimit: \"default\";r=2;t=");

    let page = explorer.try_out("list_items").await?.execute("200").await?;
    shows(&page, "\"key\": \"greeting\"");
    shows(&page, "\"total\": 1");
    shows(&page, "link: </items/?page=1&page_size=10>; rel=\"first\"");

    let conflict = create.execute("409").await?;
    shows(&conflict, "\"code\": \"key-exists\"");

    let refused = get.execute("429").await?;
    shows(&refused, "\"code\": \"rate-limited\"");
    shows(&refused, "retry-after: ");

    explorer.expect_complaints(&[CONFLICT, TOO_MANY]).await?;
    // The network is cut off indeed: the same kvd by a name that needs resolving.
    let named = explorer.origin.replace("127.0.0.1", "localhost");
    let unreachable = explorer.browser.goto(format!("{named}docs")).await;
    let reason = unreachable.expect_err("localhost").to_string();
    shows(&reason, "ERR_NAME_NOT_RESOLVED");
    Ok(())
}

async fn every_example_succeeds_as_it_stands(env: Env) {
    let kvd = env.start().await;
    try_all_examples(&env, &kvd).await.expect("the page");
}

async fn try_all_examples(env: &Env, kvd: &Kvd) -> WebDriverResult<()> {
    let explorer = Explorer::open(env, kvd, Screen::Desktop).await?;
    let operations = explorer.operations().await?;
    assert_eq!(operations.len(), 7, "{operations:?}");
    for id in operations {
        let status = match id.as_str() {
            "create_item" => "201",
            "delete_item" => "204",
            _ => "200",
        };
        let operation = explorer.try_out(&id).await?;
        let _answer = operation.execute(status).await?;
    }
    explorer.expect_complaints(&[]).await
}

async fn a_token_that_was_given_to_authorize_is_sent(env: Env) {
    let kvd = env.kvd().env("AUTH", "tokens").start().await;
    let token = env.token(["app", "--read", "app/"]).await;
    try_with_token(&env, &kvd, &token).await.expect("the page");
}

async fn try_with_token(env: &Env, kvd: &Kvd, token: &str) -> WebDriverResult<()> {
    let explorer = Explorer::open(env, kvd, Screen::Desktop).await?;
    let whoami = explorer.try_out("whoami").await?;
    let nobody = whoami.execute("401").await?;
    shows(&nobody, "\"code\": \"unauthenticated\"");
    shows(&nobody, "www-authenticate: Bearer");

    let press = async |button: &str| {
        let button = explorer.browser.query(By::Css(button));
        button.and_displayed().first().await?.click().await
    };
    press(".auth-wrapper > .authorize").await?;
    let input = explorer.browser.query(By::Css(".modal-ux input"));
    input.first().await?.send_keys(token).await?;
    press(".modal-ux button.authorize").await?;
    press(".modal-ux button.btn-done").await?;

    let app = whoami.execute("200").await?;
    shows(&app, "\"name\": \"app\"");
    let get = explorer.try_out("get_item").await?;
    let outside = get.execute("403").await?;
    shows(&outside, "\"code\": \"forbidden\"");
    explorer.expect_complaints(&[UNAUTHORIZED, FORBIDDEN]).await
}

async fn every_call_shows_its_errors_limits_and_headers(env: Env) {
    let limits = env.kvd().env("RATE_LIMIT", "7");
    let kvd = limits.env("MAX_VALUE_BYTES", "1234").start().await;
    let document = kvd.get("/openapi.json").await.expect(200).json();
    read_all(&env, &kvd, &document).await.expect("the page");
}

// Long: what each call has to show.
async fn read_all(env: &Env, kvd: &Kvd, document: &Value) -> WebDriverResult<()> {
    let explorer = Explorer::open(env, kvd, Screen::Desktop).await?;
    let paths = document["paths"].as_object().expect("paths").values();
    for described in paths.flat_map(|path| path.as_object().expect("methods").values()) {
        let id = described["operationId"].as_str().expect("an id");
        let operation = explorer.operation(id).await?;
        operation.unfold().await?;
        let responses = By::ClassName("responses-wrapper");
        let _unfolded = operation.0.query(responses).and_displayed().first().await?;
        let text = operation.0.text().await?;
        for (status, answer) in described["responses"].as_object().expect("answers") {
            shows(&text, &format!("\n{status}\n"));
            for name in answer["headers"].as_object().expect("headers").keys() {
                shows(&text, name);
            }
            let problems = &answer["content"]["application/problem+json"]["examples"];
            for code in problems
                .as_object()
                .into_iter()
                .flatten()
                .map(|(code, _)| code)
            {
                shows(&text, &format!("{code}: "));
            }
        }
        shows(&text, "rate-limited: ");
        shows(&text, "At most 7 requests of one client");
        let more: &[&str] = match id {
            "create_item" => &["1 to 512 bytes", "at most 1234 bytes", "Location"],
            "update_item" => &["maxLength: 512", "at most 1234 bytes", "Content-Location"],
            "list_items" => &["minimum: 1", "maximum: 100", "Link"],
            "whoami" => &["app-reader"],
            "batch" => &["at most 8 MiB", "at most 1234 bytes", "Both, or nothing"],
            _ => &["maxLength: 512"],
        };
        for part in more {
            shows(&text, part);
        }
    }
    explorer.expect_complaints(&[]).await
}

async fn on_a_phone_nothing_scrolls_sideways_and_a_call_can_be_tried(env: Env) {
    let kvd = env.start().await;
    try_on_a_phone(&env, &kvd).await.expect("the page");
}

async fn try_on_a_phone(env: &Env, kvd: &Kvd) -> WebDriverResult<()> {
    let explorer = Explorer::open(env, kvd, Screen::Phone).await?;
    for id in explorer.operations().await? {
        let operation = explorer.try_out(&id).await?;
        if id == "create_item" {
            let created = operation.execute("201").await?;
            shows(&created, "\"key\": \"greeting\"");
        }
        let width = explorer.browser.page_width().await?;
        assert_eq!(width, Screen::Phone.width(), "{id}");
    }
    explorer.expect_complaints(&[]).await
}
