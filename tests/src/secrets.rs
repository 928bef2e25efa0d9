//! What no program may tell: tokens, and the passwords of the database servers. Every answer, log, output and database
//! file that a run of the suite brings forth is looked through for them.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// A shorter password may well be a part of other words.
const SHORT: usize = 12;

static PASSWORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps a password in mind.
pub(crate) fn keep(password: &str) {
    if password.len() >= SHORT {
        let mut passwords = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
        passwords.push(password.to_owned());
    }
}

/// Fails if the text tells a password or a token; `place` is where it stands.
///
/// # Panics
///
/// If it does.
#[track_caller]
pub fn assert_no_secret(place: &str, text: &str) {
    assert_no_password(place, text);
    if let Some(token) = token(text) {
        panic!("{place} tells a token, {token}");
    }
}

/// Fails if the text tells a password.
///
/// # Panics
///
/// If it does.
#[track_caller]
pub fn assert_no_password(place: &str, text: &str) {
    assert!(
        !has_password(text),
        "{place} tells a password of a database server"
    );
}

/// What in a text looks like a token.
fn token(text: &str) -> Option<&str> {
    const MARK: &str = "kvd_";
    const REST: usize = 36;
    text.match_indices(MARK).find_map(|(at, _)| {
        let token = text.get(at..at + MARK.len() + REST)?;
        let rest = &token[MARK.len()..];
        rest.bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
            .then_some(token)
    })
}

/// The first file of a directory that kvd keeps a database in and that tells a secret.
pub(crate) fn told_by_files(directory: &Path) -> Option<String> {
    let files = fs::read_dir(directory).ok()?.flatten();
    let mut databases = files.filter(|file| file.file_name().to_string_lossy().contains(".db"));
    databases.find_map(|file| {
        let content = fs::read(file.path()).ok()?;
        let content = String::from_utf8_lossy(&content);
        told(&content).then(|| format!("{} tells a secret", file.path().display()))
    })
}

/// Whether the text tells a password or a token.
pub(crate) fn told(text: &str) -> bool {
    has_password(text) || token(text).is_some()
}

fn has_password(text: &str) -> bool {
    let passwords = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
    passwords.iter().any(|password| text.contains(password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::made_up;

    #[test]
    fn tokens_are_found_and_names_of_databases_are_not() {
        let made_up = made_up();
        assert_eq!(token(&format!("a {made_up}, b")), Some(made_up.as_str()));
        for text in [
            "kvd_",
            "kvd_test_13700_25_and_what_comes_after_it_is_long",
            &made_up[..39],
        ] {
            assert_eq!(token(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_found_wherever_it_stands() {
        keep("long-enough-password");
        assert!(told("postgres://kvd:long-enough-password@h") && !told("postgres://kvd:***@h"));
    }
}
