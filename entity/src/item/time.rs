//! A time as the database holds it and as both programs write it.

use std::fmt;

use chrono::{DateTime, Datelike, Timelike, Utc};
use sea_orm::{
    ColIdx, DbErr, QueryResult, RuntimeErr, TryGetError, TryGetable, Value,
    sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr},
    sqlx::{
        Decode, Postgres, Row, Type,
        error::BoxDynError,
        postgres::{PgTypeInfo, PgValueFormat, PgValueRef},
    },
};

/// UTC, microseconds; written as RFC 3339 (`2026-01-31T09:30:00.123456Z`).
///
/// RFC 3339 has the years 0 to 9999. Other software may have stored later or earlier years in
/// PostgreSQL, or `infinity`: those become the first or the last microsecond of the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(DateTime<Utc>);

/// 0001-01-01T00:00:00.000000Z, in microseconds since 1970.
const FIRST: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z, in microseconds since 1970.
const LAST: i64 = 253_402_300_799_999_999;
/// PostgreSQL counts from 2000-01-01; in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Time {
    /// PostgreSQL sends microseconds since 2000-01-01; the least and the greatest number are its
    /// infinities.
    fn of_postgres(microseconds: i64) -> Self {
        Self::of_unix(microseconds.saturating_add(POSTGRES_EPOCH))
    }

    fn of_unix(microseconds: i64) -> Self {
        let near = microseconds.clamp(FIRST, LAST);
        Self(DateTime::from_timestamp_micros(near).unwrap_or_default())
    }
}

impl Time {
    /// As SQLite's columns have it, so that texts compare as times do, and as MySQL reads it. The driver would send MySQL a
    /// `TIMESTAMP`, which ends in 2038.
    pub(crate) fn in_columns(self) -> String {
        self.to_string().replace('T', " ").replace('Z', "")
    }
}

impl From<DateTime<Utc>> for Time {
    fn from(time: DateTime<Utc>) -> Self {
        Self::of_unix(time.timestamp_micros())
    }
}

impl From<Time> for DateTime<Utc> {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.0.date_naive(), self.0.time());
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (end, digits, number) in [
            (4, 4, date.year().unsigned_abs()),
            (7, 2, date.month()),
            (10, 2, date.day()),
            (13, 2, time.hour()),
            (16, 2, time.minute()),
            (19, 2, time.second()),
            (26, 6, time.nanosecond() / 1000),
        ] {
            let mut rest = number;
            for digit in text[end - digits..end].iter_mut().rev() {
                *digit += (rest % 10) as u8;
                rest /= 10;
            }
        }
        f.write_str(str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                <i64 as Decode<Postgres>>::decode(value).map(Self::of_postgres)
            }
            PgValueFormat::Text => {
                <DateTime<Utc> as Decode<Postgres>>::decode(value).map(Self::from)
            }
        }
    }
}

impl TryGetable for Time {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        match row.try_as_pg_row() {
            Some(row) => match row.try_get::<Option<Self>, _>(index.as_sqlx_postgres_index()) {
                Ok(time) => time.ok_or_else(|| TryGetError::Null(format!("{index:?}"))),
                Err(error) => Err(TryGetError::DbErr(DbErr::Query(RuntimeErr::SqlxError(
                    error.into(),
                )))),
            },
            None => DateTime::<Utc>::try_get_by(row, index).map(Self::from),
        }
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        time.0.into()
    }
}

impl ValueType for Time {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <DateTime<Utc> as ValueType>::try_from(value).map(Self::from)
    }

    fn type_name() -> String {
        "Time".to_owned()
    }

    fn array_type() -> ArrayType {
        <DateTime<Utc> as ValueType>::array_type()
    }

    fn column_type() -> ColumnType {
        <DateTime<Utc> as ValueType>::column_type()
    }
}

impl Nullable for Time {
    fn null() -> Value {
        <DateTime<Utc> as Nullable>::null()
    }
}

#[cfg(test)]
mod tests {
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_written_as_chrono_writes_it(microseconds in FIRST..=LAST) {
            let time = DateTime::from_timestamp_micros(microseconds).unwrap();
            let written = time.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(Time::from(time).to_string(), written);
        }
    }

    #[test]
    fn what_rfc_3339_cannot_write_becomes_the_nearest_that_it_can() {
        let shown = |microseconds| Time::of_postgres(microseconds).to_string();
        assert_eq!(shown(0), "2000-01-01T00:00:00.000000Z");
        assert_eq!(shown(-1), "1999-12-31T23:59:59.999999Z");
        assert_eq!(shown(i64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(shown(i64::MIN), "0001-01-01T00:00:00.000000Z");
        assert_eq!(shown(LAST - POSTGRES_EPOCH), "9999-12-31T23:59:59.999999Z");
        assert_eq!(shown(FIRST - POSTGRES_EPOCH), "0001-01-01T00:00:00.000000Z");
    }
}
