//! The operations of a batch, once all of them are in order.

use std::collections::HashSet;

use entity::{
    ETag, Key, Precondition, TagMatch, Value,
    token::Access,
    write::{Action, KeyOperation, Write},
};

use super::request::{MOST_OPERATIONS, NewOperation, OperationName, ReadOperations, TagsMember};
use crate::{
    http::{Problem, sentence},
    items::expiring::expiry,
};

/// The operations, all in order and of different keys.
///
/// # Errors
/// 400 or 413, with the place of the first that is not.
pub(super) fn checked(
    operations: ReadOperations,
    max_value_bytes: usize,
) -> Result<Vec<KeyOperation>, Problem> {
    let ReadOperations { each, are_too_many } = operations;
    if each.is_empty() {
        return Err(Problem::invalid("A batch has at least one operation."));
    }
    let mut keys = HashSet::with_capacity(each.len());
    let mut checked = Vec::with_capacity(each.len());
    for (index, read) in each.into_iter().enumerate() {
        let operation = read
            .map_err(|error| Problem::invalid(sentence(error)))
            .and_then(|operation| self::operation(operation, max_value_bytes))
            .and_then(|operation| match keys.insert(operation.key().clone()) {
                true => Ok(operation),
                false => Err(Problem::invalid("An operation before it has the same key.")),
            });
        checked.push(operation.map_err(|problem| problem.of_operation(index))?);
    }
    if are_too_many {
        let detail = format!("A batch has at most {MOST_OPERATIONS} operations.");
        return Err(Problem::invalid(detail).of_operation(MOST_OPERATIONS));
    }
    Ok(checked)
}

/// What a token must allow for the operation.
pub(super) fn access(operation: &KeyOperation) -> Access {
    match operation {
        KeyOperation::Read { .. } => Access::Read,
        KeyOperation::Write(_) => Access::Write,
    }
}

fn operation(read: NewOperation, max_value_bytes: usize) -> Result<KeyOperation, Problem> {
    check_members(&read)?;
    let op = read.op;
    let key = Key::new(read.key)?;
    let precondition = Precondition {
        if_match: read.if_match.map(tags).transpose()?,
        if_none_match: read.if_none_match.map(tags).transpose()?,
    };
    let value = || {
        let text = read.value;
        let text = text.ok_or_else(|| Problem::invalid(format!("A {op} has a value.")));
        Ok::<_, Problem>(Value::new(text?, max_value_bytes)?)
    };
    let action = match op {
        OperationName::Get => return Ok(KeyOperation::Read { key, precondition }),
        OperationName::Create => Action::Create(value()?),
        OperationName::Put if read.upsert == Some(true) || precondition.wants_absent() => {
            Action::Upsert(value()?)
        }
        OperationName::Put => Action::Update(value()?),
        OperationName::Delete => Action::Delete,
    };
    let keeps = read.keep_ttl == Some(true);
    Ok(KeyOperation::Write(Write {
        key,
        action,
        precondition,
        expiry: expiry(read.ttl, read.expires_at.as_deref(), keeps)?,
    }))
}

/// A member that an operation does not take is a mistake of whoever wrote it.
fn check_members(read: &NewOperation) -> Result<(), Problem> {
    use OperationName::{Create, Delete, Get, Put};
    let members: [(&str, bool, &[OperationName]); 7] = [
        ("value", read.value.is_some(), &[Create, Put]),
        ("upsert", read.upsert.is_some(), &[Put]),
        ("if_match", read.if_match.is_some(), &[Get, Put, Delete]),
        (
            "if_none_match",
            read.if_none_match.is_some(),
            &[Get, Put, Delete],
        ),
        ("ttl", read.ttl.is_some(), &[Create, Put]),
        ("expires_at", read.expires_at.is_some(), &[Create, Put]),
        ("keep_ttl", read.keep_ttl.is_some(), &[Put]),
    ];
    match members
        .iter()
        .find(|(_, is_there, takers)| *is_there && !takers.contains(&read.op))
    {
        Some((member, ..)) => {
            let detail = format!("A {} takes no {member}.", read.op);
            Err(Problem::invalid(detail))
        }
        None => Ok(()),
    }
}

fn tags(member: TagsMember) -> Result<TagMatch, Problem> {
    let tag = |text: &String| {
        let tag: Result<ETag, _> = text.parse();
        let detail = "A tag is as in the member etag of an item, without quotes: 17-3.";
        tag.map_err(|_| Problem::invalid(detail))
    };
    match &member {
        TagsMember::One(text) if text == "*" => Ok(TagMatch::Any),
        TagsMember::One(text) => Ok(TagMatch::Tags(vec![tag(text)?])),
        TagsMember::Several(texts) if texts.is_empty() => {
            Err(Problem::invalid("An array of tags has at least one."))
        }
        TagsMember::Several(texts) => {
            let tags: Result<_, _> = texts.iter().map(tag).collect();
            tags.map(TagMatch::Tags)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::items::batch::request::ReadBatch;

    fn read(operations: &Json) -> Result<Vec<KeyOperation>, Json> {
        let text = json!({ "operations": operations }).to_string();
        let batch: ReadBatch = serde_json::from_str(&text).unwrap();
        checked(batch.operations, 10).map_err(|problem| {
            let document = serde_json::to_value(problem.document());
            document.expect("a problem document is JSON")
        })
    }

    #[test]
    fn an_operation_becomes_the_write_that_the_single_call_would_be() {
        let operations = json!([
            { "op": "get", "key": "a", "value": null, "ttl": null },
            { "op": "create", "key": "b", "value": "v", "ttl": 5 },
            { "op": "put", "key": "c", "value": "v", "keep_ttl": true },
            { "op": "put", "key": "d", "value": "v", "upsert": true, "if_match": "*" },
            { "op": "put", "key": "e", "value": "v", "if_none_match": "*" },
            { "op": "put", "key": "f", "value": "v", "if_match": ["1-1", "1-2"] },
            { "op": "delete", "key": "g", "if_none_match": "1-1" },
        ]);
        let read = read(&operations).unwrap();
        let actions: Vec<_> = read
            .iter()
            .map(|operation| match operation {
                KeyOperation::Read { .. } => "read",
                KeyOperation::Write(write) => match write.action {
                    Action::Create(_) => "create",
                    Action::Update(_) => "update",
                    Action::Upsert(_) => "upsert",
                    Action::Delete => "delete",
                },
            })
            .collect();
        let expected = [
            "read", "create", "update", "upsert", "upsert", "update", "delete",
        ];
        assert_eq!(actions, expected);
    }

    // Long: each mistake there is.
    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (mistake, code) in [
            (json!(5), "invalid-request"),
            (json!(["get", "a"]), "invalid-request"),
            (json!({ "op": "get" }), "invalid-request"),
            (json!({ "op": "read", "key": "a" }), "invalid-request"),
            (
                json!({ "op": "get", "key": "a", "tll": 1 }),
                "invalid-request",
            ),
            (
                json!({ "op": "get", "key": "a", "value": "v" }),
                "invalid-request",
            ),
            (json!({ "op": "get", "key": "first" }), "invalid-request"),
            (json!({ "op": "get", "key": ".." }), "invalid-key"),
            (
                json!({ "op": "get", "key": "a", "if_match": "\"1-1\"" }),
                "invalid-request",
            ),
            (
                json!({ "op": "get", "key": "a", "if_match": [] }),
                "invalid-request",
            ),
            (
                json!({ "op": "get", "key": "a", "if_match": ["*"] }),
                "invalid-request",
            ),
            (
                json!({ "op": "get", "key": "a", "if_match": vec!["1-1"; 101] }),
                "invalid-request",
            ),
            (json!({ "op": "create", "key": "a" }), "invalid-request"),
            (
                json!({ "op": "create", "key": "a", "value": "v", "upsert": true }),
                "invalid-request",
            ),
            (
                json!({ "op": "put", "key": "a", "value": "\u{0}" }),
                "invalid-value",
            ),
            (
                json!({ "op": "put", "key": "a", "value": "v".repeat(11) }),
                "value-too-large",
            ),
            (
                json!({ "op": "put", "key": "a", "value": "v", "ttl": 0 }),
                "invalid-request",
            ),
            (
                json!({ "op": "delete", "key": "a", "ttl": 1 }),
                "invalid-request",
            ),
        ] {
            let first = json!({ "op": "get", "key": "first" });
            let problem = read(&json!([first, mistake, { "op": "get", "key": ".." }])).unwrap_err();
            assert_eq!(
                (&problem["index"], &problem["code"]),
                (&1.into(), &code.into()),
                "{mistake}"
            );
        }
    }

    #[test]
    fn a_batch_has_1_to_100_operations() {
        let get = |n: usize| json!({ "op": "get", "key": n.to_string() });
        let problem = read(&json!([])).unwrap_err();
        assert_eq!(problem["code"], "invalid-request");
        let gets: Vec<Json> = (0..100).map(get).collect();
        assert_eq!(read(&json!(gets)).map(|read| read.len()), Ok(100));
        let gets: Vec<Json> = (0..1000).map(get).collect();
        assert_eq!(read(&json!(gets)).unwrap_err()["index"], 100);
    }
}
