//! Notes that several commands write to standard error.

use migration::{Found, HandMade, Status};

use crate::output;

/// Most odd keys that are named one by one; JSON has all of them.
const NAMED_ODD_KEYS: usize = 20;

/// Says what table a migration would find.
pub(crate) fn note_found(found: &Found) {
    match found {
        Found::Nothing => {}
        Found::HandMade(table) => {
            output::note(&format!("{}; kvctl migrate adopts it", described(table)));
        }
        Found::Foreign(difference) => output::note(&format!(
            "there is a table items that is not kvd's, and kvctl migrate refuses it: {difference}"
        )),
    }
}

/// Says that a table made by hand is being adopted, and what becomes of it.
pub(crate) fn note_adoption(table: HandMade) {
    output::note(&format!("{}; adopting it", described(&table)));
    output::note(
        "every row stays; id and its sequence become 64-bit, key is compared byte for byte, \
         times are taken as UTC, version is added",
    );
    if table.rows_without_time > 0 {
        let rows = table.rows_without_time;
        output::note(&format!(
            "{rows} of the rows lack a usable time and get the time of the migration"
        ));
    }
}

/// Says in which order a database that is in use learns expiry.
pub(crate) fn note_pending_expiry(status: &Status) {
    let in_use = status.known.iter().any(|(_, applied)| *applied);
    if in_use && status.pending().any(|name| name.ends_with("_expiry")) {
        output::note(
            "after kvctl migrate restart every kvd and replace every kvctl, and only then let items \
             expire: older ones do not know of it",
        );
    }
}

fn described(table: &HandMade) -> String {
    let rows = match table.rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    format!("found a table items made by hand, with {rows}")
}

/// Names keys that break the rule, on standard error.
pub(crate) fn note_odd_keys(keys: &[String]) {
    for key in keys.iter().take(NAMED_ODD_KEYS) {
        output::note(&format!(
            "the key {key:?} breaks the rule of keys; only kvctl can reach it"
        ));
    }
    if let Some(more) = keys
        .len()
        .checked_sub(NAMED_ODD_KEYS)
        .filter(|more| *more > 0)
    {
        output::note(&format!(
            "and {more} more; kvctl inspect -o json names all of them"
        ));
    }
}
