//! What a token allows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::item::{Key, Prefix};

/// The most rules of a token.
const MOST: usize = 100;

/// What may be done with the keys of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    Read,
    /// Includes [`Access::Read`].
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// Allows an access to all keys that begin with a prefix; with the empty one to every key.
///
/// What it does not know, it refuses to be: a later version may mean a restriction by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(serialize_with = "prefix_text", deserialize_with = "prefix")]
    pub prefix: Prefix,
    pub access: Access,
}

/// The rules of a token, at least one: whatever one of them allows is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Rule>", into = "Vec<Rule>")]
pub struct Rules(Vec<Rule>);

impl TryFrom<Vec<Rule>> for Rules {
    type Error = InvalidRules;

    fn try_from(rules: Vec<Rule>) -> Result<Self, InvalidRules> {
        Self::new(rules)
    }
}

impl From<Rules> for Vec<Rule> {
    fn from(Rules(rules): Rules) -> Self {
        rules
    }
}

/// Why these are no [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    #[error("a token needs at least one rule")]
    None,
    #[error("a token has at most {MOST} rules, not {0}")]
    TooMany(usize),
}

impl Rules {
    /// # Errors
    /// There are none, or too many.
    pub fn new(rules: Vec<Rule>) -> Result<Self, InvalidRules> {
        match rules.len() {
            0 => Err(InvalidRules::None),
            many if many > MOST => Err(InvalidRules::TooMany(many)),
            _ => Ok(Self(rules)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    pub fn allow(&self, access: Access, key: &Key) -> bool {
        self.allow_all(access, key.as_str())
    }

    /// Whether they allow it for every key of a prefix.
    pub fn allow_prefix(&self, access: Access, prefix: &Prefix) -> bool {
        self.allow_all(access, prefix.as_str())
    }

    fn allow_all(&self, access: Access, begin: &str) -> bool {
        let allows = |rule: &Rule| rule.access >= access && begin.starts_with(rule.prefix.as_str());
        self.0.iter().any(allows)
    }
}

fn prefix_text<S: serde::Serializer>(prefix: &Prefix, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(prefix.as_str())
}

fn prefix<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
    let text = String::deserialize(deserializer)?;
    Prefix::new(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(all: &[(&str, Access)]) -> Rules {
        let rule = |(prefix, access): &(&str, Access)| Rule {
            prefix: Prefix::new(*prefix).unwrap(),
            access: *access,
        };
        Rules::new(all.iter().map(rule).collect()).unwrap()
    }

    #[test]
    fn each_rule_allows_its_prefix_and_no_more() {
        let rules = rules(&[("a/", Access::Read), ("a/b", Access::Write)]);
        let allows = |access, key: &str| rules.allow(access, &Key::new(key).unwrap());
        for (key, read, write) in [
            ("a/", true, false),
            ("a/x", true, false),
            ("a/b", true, true),
            ("a/b/c", true, true),
            ("a", false, false),
            ("A/b", false, false),
        ] {
            assert_eq!(allows(Access::Read, key), read, "{key}");
            assert_eq!(allows(Access::Write, key), write, "{key}");
        }
        let reads = |prefix: &str| rules.allow_prefix(Access::Read, &Prefix::new(prefix).unwrap());
        assert!(reads("a/") && reads("a/z"));
        assert!(
            !reads("a") && !reads(""),
            "there is more than the rule in it"
        );
    }

    #[test]
    fn the_empty_prefix_is_everything() {
        let rules = rules(&[("", Access::Write)]);
        assert!(rules.allow(Access::Read, &Key::new("x").unwrap()));
        assert!(rules.allow_prefix(Access::Write, &Prefix::default()));
    }

    #[test]
    fn they_are_stored_as_json() {
        let rules = rules(&[("a/", Access::Read), ("", Access::Write)]);
        let text = serde_json::to_string(&rules).unwrap();
        assert_eq!(
            text,
            r#"[{"prefix":"a/","access":"read"},{"prefix":"","access":"write"}]"#
        );
        assert_eq!(serde_json::from_str::<Rules>(&text).unwrap(), rules);
        for other in [
            "[]",
            r#"[{"prefix":"","access":"list"}]"#,
            r#"[{"prefix":"","access":"read","till":1}]"#,
        ] {
            assert!(serde_json::from_str::<Rules>(other).is_err(), "{other}");
        }
    }
}
