//! The directory and the database servers of one run.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    database::{prepare_template, remove_template},
    engine::Choice,
    server::{Purpose, Server},
};

/// The directory and the servers of one run.
pub(crate) struct Stage {
    pub(crate) directory: TempDir,
    pub(crate) servers: Vec<(&'static str, Arc<Server>)>,
    taken: Mutex<Vec<(String, Duration)>>,
}

impl Stage {
    /// Starts everything, or says all that is missing at once.
    pub(crate) async fn set(choices: &[Choice], purpose: Purpose) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("kvd-tests-")
            .permissions(fs::Permissions::from_mode(0o711)) // another user runs the servers
            .tempdir()
            .map_err(|e| format!("no temporary directory: {e}"))?;
        let mut stage = Self {
            directory,
            servers: Vec::new(),
            taken: Mutex::default(),
        };
        let mut missing = Vec::new();
        for choice in choices {
            match open(choice, stage.directory.path(), purpose).await {
                Ok(server) => stage.servers.push((choice.name, server)),
                Err(reason) => missing.push(reason),
            }
        }
        if missing.is_empty() {
            return Ok(stage);
        }
        stage.clear().await;
        Err(missing.join("\nerror: "))
    }

    pub(crate) fn server(&self, name: &str) -> &Arc<Server> {
        let found = self.servers.iter().find(|(server, _)| *server == name);
        &found.expect("every planned engine was started").1
    }

    /// How long the tests took that have ended.
    pub(crate) fn taken(&self) -> MutexGuard<'_, Vec<(String, Duration)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn clear(&self) {
        for (_, server) in &self.servers {
            remove_template(server).await;
            server.stop();
        }
    }
}

async fn open(choice: &Choice, directory: &Path, purpose: Purpose) -> Result<Arc<Server>, String> {
    let server = Arc::new(Server::open(choice, directory, purpose).await?);
    match prepare_template(&server).await {
        Ok(()) => Ok(server),
        Err(reason) => {
            server.stop();
            Err(format!("cannot test {}: {reason}", choice.name))
        }
    }
}
