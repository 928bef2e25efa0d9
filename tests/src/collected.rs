//! What a process writes, kept while it runs.

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::watch,
    task::JoinHandle,
};

use crate::pace::{PATIENCE, timeout};

/// A stream read to its end in the background, so that the process never waits for a reader.
pub(crate) struct Collected {
    text: watch::Receiver<String>,
    _reader: JoinHandle<()>,
}

impl Collected {
    pub(crate) fn from(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, text) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(&buffer[..n])));
            }
        });
        Self {
            text,
            _reader: reader,
        }
    }

    /// For a stream that goes elsewhere.
    pub(crate) fn nothing() -> Self {
        Self::from(tokio::io::empty())
    }

    pub(crate) fn text(&self) -> String {
        self.text.borrow().clone()
    }

    /// The text as soon as it satisfies `enough`, or all of it.
    pub(crate) async fn wait(&self, enough: impl Fn(&str) -> bool) -> String {
        let mut text = self.text.clone();
        let waiting = text.wait_for(|text| enough(text));
        let found = timeout(PATIENCE, waiting).await;
        match found {
            Ok(Ok(text)) => text.clone(),
            Ok(Err(_end)) => self.text(),
            Err(_) => panic!("kvd did not say it within {PATIENCE:?}:\n{}", self.text()),
        }
    }

    pub(crate) async fn all(&self) -> String {
        self.wait(|_| false).await
    }
}
