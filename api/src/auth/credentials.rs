//! The header `Authorization` of a request (RFC 9110, 11.6.2) with a bearer token (RFC 6750, 2.1).

use entity::token::Secret;
use poem::http::{HeaderMap, header};

const SCHEME: &str = "bearer";

/// The token that a request carries. `None` if there is none, or what there is cannot be one: then no database is asked.
pub fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let line = lines.next()?.to_str().ok()?;
    if lines.next().is_some() {
        return None;
    }
    let (scheme, token) = line.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    Secret::parse(token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "kvd_0000000000000000000000000000002C8GjS";

    fn read(lines: &[String]) -> Option<Secret> {
        let lines = lines
            .iter()
            .map(|line| HeaderValue::from_str(line).unwrap());
        bearer(&lines.map(|line| (header::AUTHORIZATION, line)).collect())
    }

    #[test]
    fn one_line_with_a_sound_token_is_read_and_nothing_else() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let read = read(&[format!("{scheme} {TOKEN}")]);
            assert_eq!(read.unwrap().reveal(), TOKEN);
        }
        let line = format!("Bearer {TOKEN}");
        for lines in [
            vec![],
            vec![line.clone(), line.clone()],
            vec![TOKEN.to_owned()],
            vec![format!("Basic {TOKEN}")],
            vec![format!("Bearer\t{TOKEN}")],
            vec![format!("Bearer {TOKEN}, Bearer {TOKEN}")],
            vec![format!("Bearer {}", TOKEN.replace('2', "3"))],
            vec!["Bearer".to_owned()],
        ] {
            assert_eq!(read(&lines), None, "{lines:?}");
        }
    }
}
