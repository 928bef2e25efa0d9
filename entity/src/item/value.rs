//! Values.

/// A value: UTF-8 text without U+0000, which PostgreSQL cannot hold. [`Value::new`] bounds its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(String);

/// Why a text is no [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("a value has at most {max} bytes, not {bytes}")]
    TooLarge { bytes: usize, max: usize },
    #[error("a value has no U+0000")]
    Nul,
}

impl Value {
    /// `max` is the most bytes a value may have.
    ///
    /// # Errors
    /// The part of the rule that the text breaks.
    pub fn new(text: String, max: usize) -> Result<Self, InvalidValue> {
        let bytes = text.len();
        if bytes > max {
            return Err(InvalidValue::TooLarge { bytes, max });
        }
        if text.contains('\0') {
            return Err(InvalidValue::Nul);
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_bounded_in_bytes_and_has_no_nul() {
        assert!(Value::new(String::new(), 0).is_ok());
        assert!(Value::new("é".into(), 2).is_ok());
        assert_eq!(
            Value::new("é".into(), 1),
            Err(InvalidValue::TooLarge { bytes: 2, max: 1 })
        );
        assert_eq!(Value::new("a\0".into(), 9), Err(InvalidValue::Nul));
    }
}
