//! The constraints of the service model on members of a request, all violations in one message, in AWS's words.

use std::ops::RangeInclusive;

use crate::error::KmsError;

#[derive(Default)]
pub(super) struct Constraints {
    violations: Vec<String>,
}

impl Constraints {
    /// A required key id, ARN or alias; empty if it is absent, which is then a violation.
    pub(super) fn key_id<'a>(&mut self, member: &str, value: Option<&'a str>) -> &'a str {
        self.required(member, value);
        self.optional_key_id(member, value).unwrap_or_default()
    }

    pub(super) fn optional_key_id<'a>(&mut self, member: &str, value: Option<&'a str>) -> Option<&'a str> {
        self.length(member, value, 1..=2048)
    }

    pub(super) fn required<T: ?Sized>(&mut self, member: &str, value: Option<&T>) {
        if value.is_none() {
            self.violations.push(violation("Value null", member, "Member must not be null"));
        }
    }

    /// The length of a string, in characters.
    pub(super) fn length<'a>(
        &mut self,
        member: &str,
        value: Option<&'a str>,
        allowed: RangeInclusive<usize>,
    ) -> Option<&'a str> {
        if let Some(text) = value {
            self.check_bounds(&format!("Value '{text}'"), member, "length", &text.chars().count(), &allowed);
        }
        value
    }

    /// The number of items of a list.
    pub(super) fn count(&mut self, member: &str, items: usize, allowed: RangeInclusive<usize>) {
        self.check_bounds("Value", member, "length", &items, &allowed);
    }

    /// The length of bytes that no message may quote.
    pub(super) fn blob_length(&mut self, member: &str, value: Option<&[u8]>, allowed: RangeInclusive<usize>) {
        if let Some(bytes) = value {
            self.check_bounds("Value", member, "length", &bytes.len(), &allowed);
        }
    }

    pub(super) fn number(&mut self, member: &str, value: Option<i64>, allowed: RangeInclusive<i64>) {
        if let Some(number) = value {
            self.check_bounds(&format!("Value '{number}'"), member, "value", &number, &allowed);
        }
    }

    pub(super) fn one_of(&mut self, member: &str, value: Option<&str>, allowed: &[&str]) {
        if let Some(text) = value.filter(|text| !allowed.contains(text)) {
            let set = allowed.join(", ");
            let constraint = format!("Member must satisfy enum value set: [{set}]");
            self.violations.push(violation(&format!("Value '{text}'"), member, &constraint));
        }
    }

    /// Every character of `value` must be `allowed`, which `pattern` says for the reader.
    pub(super) fn characters(&mut self, member: &str, value: &str, allowed: impl Fn(char) -> bool, pattern: &str) {
        if !value.chars().all(allowed) {
            let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
            self.violations.push(violation(&format!("Value '{value}'"), member, &constraint));
        }
    }

    pub(super) fn check(self) -> Result<(), KmsError> {
        let count = self.violations.len();
        match count {
            0 => Ok(()),
            1 => Err(KmsError::Validation(format!("1 validation error detected: {}", self.violations.join("")))),
            _ => {
                Err(KmsError::Validation(format!("{count} validation errors detected: {}", self.violations.join("; "))))
            }
        }
    }

    fn check_bounds<T: PartialOrd + std::fmt::Display>(
        &mut self,
        subject: &str,
        member: &str,
        what: &str,
        actual: &T,
        allowed: &RangeInclusive<T>,
    ) {
        let (bound, limit) = if actual < allowed.start() {
            ("greater", allowed.start())
        } else if actual > allowed.end() {
            ("less", allowed.end())
        } else {
            return;
        };
        let constraint = format!("Member must have {what} {bound} than or equal to {limit}");
        self.violations.push(violation(subject, member, &constraint));
    }
}

fn violation(subject: &str, member: &str, constraint: &str) -> String {
    format!("{subject} at '{member}' failed to satisfy constraint: {constraint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(break_some: impl FnOnce(&mut Constraints)) -> String {
        let mut constraints = Constraints::default();
        break_some(&mut constraints);
        constraints.check().unwrap_err().to_string()
    }

    /// Both messages were recorded from AWS.
    #[test]
    fn the_words_are_those_of_aws() {
        assert_eq!(
            message(|c| c.blob_length("plaintext", Some(&[0; 4097]), 1..=4096)),
            "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length \
             less than or equal to 4096"
        );
        assert_eq!(
            message(|c| c.number("numberOfBytes", Some(1025), 1..=1024)),
            "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must \
             have value less than or equal to 1024"
        );
    }

    #[test]
    fn several_violations_are_counted() {
        let message = message(|c| {
            c.key_id("keyId", None);
            c.one_of("keySpec", Some("AES_512"), &["AES_256", "AES_128"]);
        });
        assert_eq!(
            message,
            "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be \
             null; Value 'AES_512' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: \
             [AES_256, AES_128]"
        );
    }

    #[test]
    fn what_is_within_the_bounds_passes() {
        let mut constraints = Constraints::default();
        assert_eq!(constraints.key_id("keyId", Some("x")), "x");
        constraints.blob_length("plaintext", Some(&[0; 4096]), 1..=4096);
        constraints.number("numberOfBytes", Some(1), 1..=1024);
        constraints.one_of("keySpec", None, &["AES_256"]);
        assert!(constraints.check().is_ok());
    }
}
