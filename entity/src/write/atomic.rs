//! Several operations on different keys, all or nothing.
//!
//! One transaction locks the rows of all keys, also of those that are only read: else two of them could each read what
//! the other writes, and both commit. It judges all items at one time, and only then changes anything. Where a row was
//! not found, nothing is locked; whoever creates it meanwhile is met by the insert, and all is begun again. Where nothing
//! is written, nothing is locked either.

use std::collections::HashMap;

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::{
    item::{Item, etag::ETag, key::Key, precondition::Precondition},
    read::find::{FoundItem, find_many},
    write::{
        change::{Done, Write, WriteError, concluded},
        claim::Claim,
        locked_rows::LockedRows,
        row_changes::change_rows,
        step::Step,
        transaction::{commit, roll_back},
    },
};

/// One of several operations that are done together or not at all.
#[derive(Clone, Debug)]
pub enum KeyOperation {
    Read {
        key: Key,
        precondition: Precondition,
    },
    Write(Write),
}

impl KeyOperation {
    pub fn key(&self) -> &Key {
        match self {
            Self::Read { key, .. } => key,
            Self::Write(write) => &write.key,
        }
    }

    fn as_write(&self) -> Option<&Write> {
        match self {
            Self::Read { .. } => None,
            Self::Write(write) => Some(write),
        }
    }

    /// Why it cannot be done with the item that has this tag, or with none.
    fn reason(&self, current: Option<ETag>) -> Option<Done> {
        match (self, current) {
            (Self::Write(write), _) => match Step::of(write, current) {
                Step::Nothing(reason) => Some(reason),
                Step::Delete(_) | Step::Update(..) | Step::Create(_) => None,
            },
            (Self::Read { .. }, None) => Some(Done::Missing),
            (Self::Read { precondition, .. }, Some(tag)) => {
                let fails = !precondition.if_match_holds(tag);
                fails.then_some(Done::PreconditionFailed(tag))
            }
        }
    }
}

/// What became of all operations.
pub enum Atomic {
    /// All were done, in the order given.
    Done(Vec<AtomicDone>),
    /// Nothing was done, because of those operations that have a reason.
    Refused(Vec<Option<Done>>),
    /// Nothing was done, because values that are to be read are larger than was asked for.
    TooLarge {
        /// The bytes of all values.
        all: usize,
        largest: usize,
    },
}

/// What one of the operations did.
pub enum AtomicDone {
    Read(Item),
    /// The item still has a tag of `If-None-Match`.
    NotModified(ETag),
    Written(Done),
}

/// Does all of the operations, or none. A value of more than `most_value_bytes` bytes is not read.
///
/// Must run to its end, as [`super::write()`] must. Takes `claim` before the commit.
///
/// # Errors
/// Of all of them: see [`WriteError`].
// Long: an attempt has several reasons to be begun again.
pub async fn write_atomically(
    session: &Session,
    operations: &[KeyOperation],
    most_value_bytes: usize,
    claim: &Claim,
) -> Result<Atomic, WriteError> {
    if let Some(mut postgres) = session.postgres().await {
        // Within a transaction that is rolled back it would be undone.
        let planning = postgres.plan_once(true).await;
        planning.map_err(WriteError::NotWritten)?;
    }
    // In the order of their keys, in which new rows are inserted too.
    let mut places: Vec<usize> = (0..operations.len()).collect();
    places.sort_unstable_by_key(|place| operations[*place].key().as_str());
    let batch = Batch {
        operations: places.iter().map(|place| &operations[*place]).collect(),
        places,
        most_value_bytes,
    };
    let (mut attempts, mut ignored, mut duplicates) = (0, 0, 0);
    loop {
        attempts += 1;
        if claim.is_abandoned() {
            return Err(WriteError::Abandoned);
        }
        let attempt = match batch.attempt(session, claim).await {
            // A statement that is killed may end as if its row was not there, but not again and again.
            Err(WriteError::Ignored) if ignored == 0 => {
                ignored += 1;
                Ok(None)
            }
            // Either somebody has created one of the keys meanwhile, which the next attempt finds, or another index is
            // unique too.
            Err(WriteError::NotWritten(error)) if Failure::of(&error) == Failure::Duplicate => {
                duplicates += 1;
                match duplicates > MOST_DUPLICATES && has_other_unique_index(session).await? {
                    true => Err(WriteError::NotWritten(error)),
                    false => Ok(None),
                }
            }
            attempt => attempt,
        };
        if let Some(done) = concluded(attempt, attempts) {
            return done;
        }
    }
}

/// The number of duplicates after which the catalog is asked whether another index is unique too.
const MOST_DUPLICATES: u32 = 10;

/// Whether something else than the id and the key has to be unique. Raw: the builder knows no catalogs.
async fn has_other_unique_index(session: &Session) -> Result<bool, WriteError> {
    let backend = session.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT count(*) > 1 FROM pg_index WHERE indrelid = 'items'::regclass \
             AND indisunique AND NOT indisprimary"
        }
        DbBackend::MySql => {
            "SELECT count(DISTINCT index_name) > 1 FROM information_schema.statistics \
             WHERE table_schema = DATABASE() AND table_name = 'items' AND non_unique = 0 \
             AND index_name <> 'PRIMARY'"
        }
        // On SQLite nobody else writes during the transaction, so it was no key.
        _ => return Ok(true),
    };
    let statement = Statement::from_string(backend, sql);
    let row = session.query_one_raw(statement).await;
    let has_other = row.and_then(|row| row.map_or(Ok(true), |row| row.try_get_by(0)));
    has_other.map_err(WriteError::NotWritten)
}

struct Batch<'a> {
    /// In the order of their keys.
    operations: Vec<&'a KeyOperation>,
    /// Where each stood in the order given.
    places: Vec<usize>,
    most_value_bytes: usize,
}

/// An attempt that did not come to its end.
enum Broken {
    /// By the database.
    Failed(DbErr),
    /// A trigger has changed the key of a row, or has kept it from being written.
    Ignored,
}

impl From<DbErr> for Broken {
    fn from(error: DbErr) -> Self {
        Self::Failed(error)
    }
}

/// Items by their keys.
type Items<'a> = HashMap<&'a str, Item>;

impl Batch<'_> {
    /// `None` if it must be begun again.
    async fn attempt(
        &self,
        session: &Session,
        claim: &Claim,
    ) -> Result<Option<Atomic>, WriteError> {
        if self
            .operations
            .iter()
            .all(|operation| operation.as_write().is_none())
        {
            return self.look(session).await.map_err(WriteError::NotWritten);
        }
        session.begin().await.map_err(WriteError::NotWritten)?;
        let done = match self.within(session).await {
            Ok(done) => done,
            Err(broken) => {
                roll_back(session).await?;
                return Err(match broken {
                    Broken::Ignored => WriteError::Ignored,
                    Broken::Failed(error) => WriteError::NotWritten(error),
                });
            }
        };
        if !matches!(done, Some(Atomic::Done(_))) {
            roll_back(session).await?;
        } else if claim.take() {
            commit(session).await?;
        } else {
            roll_back(session).await?;
            return Err(WriteError::Abandoned);
        }
        Ok(done)
    }

    /// Does operations of which none writes. No lock is needed: if all items still are what one statement found of them,
    /// they were all like this at that time.
    async fn look(&self, session: &Session) -> Result<Option<Atomic>, DbErr> {
        let rows = LockedRows::read(session, &self.keys()).await?;
        if let Some(refused) = self.refused(&rows) {
            return Ok(Some(refused));
        }
        let items = match self.values(session, &rows).await? {
            Ok(items) => items,
            Err(not_done) => return Ok(not_done),
        };
        Ok(self.done(&rows, items, Vec::new()))
    }

    /// Does everything but the commit. `None` if it must be begun again.
    async fn within(&self, session: &Session) -> Result<Option<Atomic>, Broken> {
        let rows = LockedRows::lock(session, &self.keys()).await?;
        let rows = rows.ok_or(Broken::Ignored)?;
        if let Some(refused) = self.refused(&rows) {
            return Ok(Some(refused));
        }
        let items = match self.values(session, &rows).await? {
            Ok(items) => items,
            Err(not_done) => return Ok(not_done),
        };
        let writes: Vec<&Write> = self
            .operations
            .iter()
            .filter_map(|of| of.as_write())
            .collect();
        let written = change_rows(session, &writes, rows.steps(&writes), &rows).await?;
        Ok(self.done(&rows, items, written.ok_or(Broken::Ignored)?))
    }

    /// Why nothing is done, if one of the operations cannot be.
    fn refused(&self, rows: &LockedRows) -> Option<Atomic> {
        let reason = |operation: &&KeyOperation| {
            let current = rows.live.get(operation.key().as_str());
            operation.reason(current.copied())
        };
        let reasons: Vec<Option<Done>> = self.operations.iter().map(reason).collect();
        let is_refused = reasons.iter().any(Option::is_some);
        is_refused.then(|| Atomic::Refused(self.as_given(reasons)))
    }

    /// What became of the operations, from the items that were read and what was written, in the order of the keys.
    fn done(&self, rows: &LockedRows, mut items: Items<'_>, written: Vec<Done>) -> Option<Atomic> {
        let mut written = written.into_iter();
        let done = self.operations.iter().map(|operation| match operation {
            KeyOperation::Write(_) => written.next().map(AtomicDone::Written),
            KeyOperation::Read { key, .. } => match items.remove(key.as_str()) {
                Some(item) => Some(AtomicDone::Read(item)),
                None => rows
                    .live
                    .get(key.as_str())
                    .copied()
                    .map(AtomicDone::NotModified),
            },
        });
        let done: Option<Vec<AtomicDone>> = done.collect();
        done.map(|done| Atomic::Done(self.as_given(done)))
    }

    /// Reads the items that are asked for. Else why nothing is done: they are too large, or one is another by now.
    async fn values(
        &self,
        session: &Session,
        rows: &LockedRows,
    ) -> Result<Result<Items<'_>, Option<Atomic>>, DbErr> {
        let mut wanted: HashMap<&str, ETag> = HashMap::new();
        for operation in &self.operations {
            let key = operation.key().as_str();
            if let KeyOperation::Read { precondition, .. } = operation
                && let Some(tag) = rows.live.get(key)
                && precondition.if_none_match_holds(*tag)
            {
                wanted.insert(key, *tag);
            }
        }
        if wanted.is_empty() {
            return Ok(Ok(HashMap::new()));
        }
        let keys: Vec<&str> = wanted.keys().copied().collect();
        let (mut items, mut sizes) = (HashMap::new(), Vec::new());
        for found in find_many(session, &keys, self.most_value_bytes).await? {
            match found {
                FoundItem::Whole(item) => {
                    sizes.push(item.value.len());
                    let expected = wanted.remove_entry(item.key.as_str());
                    if let Some((key, _)) = expected.filter(|(_, tag)| *tag == item.etag()) {
                        items.insert(key, item);
                    }
                }
                FoundItem::Large(item) => sizes.push(item.value_bytes),
            }
        }
        let largest = sizes.iter().copied().max().unwrap_or_default();
        let all = sizes.iter().sum();
        Ok(match largest > self.most_value_bytes {
            true => Err(Some(Atomic::TooLarge { all, largest })),
            false if items.len() == keys.len() => Ok(items),
            false => Err(None),
        })
    }

    fn keys(&self) -> Vec<&str> {
        let keys = self.operations.iter().map(|operation| operation.key());
        keys.map(Key::as_str).collect()
    }

    /// Brings what stands in the order of the keys into the order given.
    fn as_given<T>(&self, of_each: Vec<T>) -> Vec<T> {
        let mut placed: Vec<(usize, T)> = self.places.iter().copied().zip(of_each).collect();
        placed.sort_unstable_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, of)| of).collect()
    }
}
