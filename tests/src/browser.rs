//! A real browser without a network: headless Chromium, driven through WebDriver.

use std::{
    ops::Deref, os::unix::process::CommandExt, path::Path, process::Stdio, sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use thirtyfour::{
    BrowserLogEntry, Capabilities, ChromiumLikeCapabilities, DesiredCapabilities,
    LoggingPrefsLogLevel, WebDriver, error::WebDriverResult,
    extensions::query::ElementPollerWithTimeout,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    env::Env,
    pace::{PATIENCE, stretched, timeout},
    process,
};

/// What the browser shows its pages on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    Desktop,
    Phone,
}

impl Screen {
    /// In CSS pixels.
    #[must_use]
    pub fn width(self) -> u64 {
        match self {
            Self::Desktop => 1280,
            Self::Phone => 390,
        }
    }
}

/// A browser that reaches 127.0.0.1 and nothing else. Also the [`WebDriver`] that moves it, whose queries wait for
/// what they look for.
pub struct Browser {
    // Dropped first: this closes the browser, which needs its driver for that.
    driver: WebDriver,
    _chromedriver: Chromedriver,
}

impl Deref for Browser {
    type Target = WebDriver;

    fn deref(&self) -> &WebDriver {
        &self.driver
    }
}

impl Browser {
    /// A new browser, whose files are in the test's directory.
    ///
    /// # Panics
    ///
    /// If there is none, or it does not start.
    pub async fn open(env: &Env, screen: Screen) -> Self {
        let chromedriver = Chromedriver::start(env.directory()).await;
        let capabilities = capabilities(env.directory(), screen).expect("capabilities are JSON");
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(stretched(PATIENCE))
            .build();
        let poller = ElementPollerWithTimeout::new(stretched(PATIENCE), Duration::from_millis(50));
        let driver = WebDriver::builder(&chromedriver.url, capabilities)
            .client(client.expect("a client without TLS can always be made"))
            .poller(Arc::new(poller))
            .await;
        Self {
            driver: driver.unwrap_or_else(|e| panic!("{INSTALL}: {e}")),
            _chromedriver: chromedriver,
        }
    }

    /// The warnings and errors that the console got since the last time.
    ///
    /// # Errors
    ///
    /// As the driver says.
    pub async fn complaints(&self) -> WebDriverResult<Vec<String>> {
        let log = self.browser_log().await?;
        let complaints = log
            .into_iter()
            .filter(|entry| matches!(entry.level.as_str(), "WARNING" | "SEVERE"));
        Ok(complaints.map(|entry| entry.message).collect())
    }

    /// The URLs that the pages asked for since the last time, whether they got them or not. Those within the page
    /// (`data:`) and within the browser (`chrome:`, `chrome-untrusted:`) need no network.
    ///
    /// # Errors
    ///
    /// As the driver says.
    pub async fn requested(&self) -> WebDriverResult<Vec<String>> {
        let url = |entry: BrowserLogEntry| {
            let event: Value = serde_json::from_str(&entry.message).ok()?;
            let event = &event["message"];
            let sent = event["method"] == "Network.requestWillBeSent";
            let url = event["params"]["request"]["url"].as_str()?;
            let inside = ["data:", "chrome:", "chrome-untrusted:"];
            let inside = inside.iter().any(|scheme| url.starts_with(scheme));
            (sent && !inside).then(|| url.to_owned())
        };
        let log = self.get_log("performance").await?;
        Ok(log.into_iter().filter_map(url).collect())
    }

    /// How wide the page is, in CSS pixels; it scrolls sideways if that is more than the screen.
    ///
    /// # Errors
    ///
    /// As the driver says.
    pub async fn page_width(&self) -> WebDriverResult<u64> {
        let script = "return document.documentElement.scrollWidth";
        self.execute(script, Vec::new()).await?.convert()
    }
}

fn capabilities(directory: &Path, screen: Screen) -> WebDriverResult<Capabilities> {
    let mut chromium = DesiredCapabilities::chrome();
    let profile = directory.join("profile");
    for argument in [
        "--headless=new",
        // Its own sandbox does not work as root, nor in most containers; it only sees kvd's page.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        // It ends when the other end of the pipe does.
        "--remote-debugging-pipe",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        &format!("--user-data-dir={}", profile.display()),
        &format!("--window-size={},900", screen.width()),
    ] {
        chromium.add_arg(argument)?;
    }
    if screen == Screen::Phone {
        let metrics = json!({
            "width": screen.width(), "height": 844, "pixelRatio": 3, "touch": true, "mobile": true,
        });
        let emulation = json!({ "deviceMetrics": metrics });
        chromium.add_experimental_option("mobileEmulation", emulation)?;
    }
    for log in ["browser", "performance"] {
        chromium.set_logging_prefs(log, LoggingPrefsLogLevel::All)?;
    }
    Ok(chromium.into())
}

const INSTALL: &str =
    "no browser: install Chromium and its chromedriver (apt-get install chromium chromium-driver)";

/// `chromedriver` with the browser it has started, in a process group of their own.
struct Chromedriver {
    url: String,
    child: Child,
}

impl Chromedriver {
    async fn start(directory: &Path) -> Self {
        // Where Ubuntu's package puts it.
        let program = process::find("chromedriver", &["/usr/lib/chromium-browser"]);
        let program = program.unwrap_or_else(|| panic!("{INSTALL}"));
        let mut command = process::command(&program, Signal::SIGKILL);
        command
            .arg("--port=0")
            .envs(["HOME", "TMPDIR"].map(|variable| (variable, directory)))
            .current_dir(directory)
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Command::from(command).spawn().expect("chromedriver starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut chromedriver = Self {
            url: String::new(),
            child,
        };
        let mut lines = BufReader::new(stdout).lines();
        let port = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
            panic!("chromedriver ended before it listened");
        };
        let port = timeout(PATIENCE, port).await.expect("chromedriver listens");
        chromedriver.url = format!("http://127.0.0.1:{port}");
        chromedriver
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let group = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(group) = group {
            // ESRCH, the only error possible here, is the outcome wanted.
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
