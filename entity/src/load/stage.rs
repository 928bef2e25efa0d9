//! How lines get into the temporary table.

use database::Session;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};

use crate::{item::time::Time, load::line::Line};

/// The rows of one `INSERT`: the engines take at least 32 766 parameters, four for each.
const INSERT_ROWS: usize = 1_000;

pub(super) async fn send(session: &Session, lines: Vec<Line>) -> Result<(), DbErr> {
    let (backend, key) = match session.get_database_backend() {
        DbBackend::Postgres => {
            // Raw: SeaORM does not know `COPY`.
            let sql = "COPY kvctl_load (line, key, value, expires_at) FROM STDIN";
            return session.copy_in(sql, copy_text(&lines)).await;
        }
        DbBackend::MySql => (DbBackend::MySql, "`key`"),
        other => (other, "\"key\""),
    };
    // Raw: the builder would make four expressions of every line, which costs an import of millions.
    let mut lines = lines.into_iter().peekable();
    while lines.peek().is_some() {
        let mut values: Vec<Value> = Vec::with_capacity(4 * INSERT_ROWS);
        for line in lines.by_ref().take(INSERT_ROWS) {
            values.push((line.number as i64).into());
            values.push(line.key.into_string().into());
            values.push(line.value.into_string().into());
            values.push(line.expires_at.map(Time::in_columns).into());
        }
        let rows = vec!["(?, ?, ?, ?)"; values.len() / 4].join(", ");
        let sql = format!("INSERT INTO kvctl_load (line, {key}, value, expires_at) VALUES {rows}");
        session
            .execute_raw(Statement::from_sql_and_values(backend, sql, values))
            .await?;
    }
    Ok(())
}

/// The text format of PostgreSQL's `COPY`.
fn copy_text(lines: &[Line]) -> Vec<u8> {
    let text = lines
        .iter()
        .map(|line| line.key.as_str().len() + line.value.as_str().len() + 52);
    let mut data = Vec::with_capacity(text.sum());
    for line in lines {
        data.extend(line.number.to_string().into_bytes());
        data.push(b'\t');
        escape(line.key.as_str(), &mut data);
        data.push(b'\t');
        escape(line.value.as_str(), &mut data);
        data.push(b'\t');
        match line.expires_at {
            Some(time) => data.extend(time.to_string().into_bytes()),
            None => data.extend(b"\\N"),
        }
        data.push(b'\n');
    }
    data
}

fn escape(text: &str, data: &mut Vec<u8>) {
    let escaped = |byte: &u8| match byte {
        b'\\' => Some(b"\\\\"),
        b'\t' => Some(b"\\t"),
        b'\n' => Some(b"\\n"),
        b'\r' => Some(b"\\r"),
        _ => None,
    };
    let mut rest = text.as_bytes();
    while let Some((at, escape)) = rest
        .iter()
        .enumerate()
        .find_map(|(at, byte)| Some((at, escaped(byte)?)))
    {
        data.extend(&rest[..at]);
        data.extend(escape);
        rest = &rest[at + 1..];
    }
    data.extend(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_to_copy_is_escaped() {
        let mut data = Vec::new();
        escape("a\tb\nc\rd\\e\\.é", &mut data);
        assert_eq!(data, "a\\tb\\nc\\rd\\\\e\\\\.é".as_bytes());
    }
}
