//! The user that a URL does not name.

use nix::unistd::{Uid, User};

use crate::url::invalid::InvalidDatabaseUrl;

/// The name of the operating system's user, as libpq and the clients of MySQL and MariaDB take it.
pub(super) fn user_name() -> Result<String, InvalidDatabaseUrl> {
    let id = Uid::effective();
    let user = User::from_uid(id).ok().flatten();
    user.map(|user| user.name)
        .ok_or(InvalidDatabaseUrl::NoUser(id.as_raw()))
}
