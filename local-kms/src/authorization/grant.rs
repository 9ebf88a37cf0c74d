//! What a grant says to a request: grants only allow, and only what all their limits allow.

use super::Question;
use crate::encryption_context::EncryptionContext;
use crate::state::{GrantConstraints, GrantRecord};

/// Operations that constraints look at: those that have an encryption context.
pub(super) const WITH_ENCRYPTION_CONTEXT: [&str; 8] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantOutcome {
    Allows,
    OtherOperation,
    OtherEncryptionContext,
    /// The grant to be made would allow more than the one that it would come from.
    WouldAllowMore,
    /// It is bound to a resource of AWS (`SourceArn`), which no request here comes from.
    OtherSource,
}

/// A grant to be made.
pub(crate) struct Child {
    pub(crate) operations: Vec<String>,
    pub(crate) constraints: GrantConstraints,
}

/// `grant` is one of the caller's.
pub(super) fn outcome(grant: &GrantRecord, question: &Question) -> GrantOutcome {
    if !grant.operations.iter().any(|operation| operation == question.operation()) {
        return GrantOutcome::OtherOperation;
    }
    if grant.constraints.source_arn.is_some() {
        return GrantOutcome::OtherSource;
    }
    if WITH_ENCRYPTION_CONTEXT.contains(&question.operation())
        && !admits(&grant.constraints, question.encryption_context)
    {
        return GrantOutcome::OtherEncryptionContext;
    }
    match question.child {
        Some(child) if !may_make(grant, child) => GrantOutcome::WouldAllowMore,
        _ => GrantOutcome::Allows,
    }
}

fn admits(constraints: &GrantConstraints, context: &EncryptionContext) -> bool {
    let equals = constraints.encryption_context_equals.as_ref();
    let subset = constraints.encryption_context_subset.as_ref();
    equals.is_none_or(|pairs| pairs.0.len() == context.0.len() && contains(context, pairs))
        && subset.is_none_or(|pairs| contains(context, pairs))
}

/// Whether every pair of `part` is in `whole`: keys whatever their case, values exactly (KMS API Reference,
/// `GrantConstraints`).
fn contains(whole: &EncryptionContext, part: &EncryptionContext) -> bool {
    part.0.iter().all(|(key, value)| {
        whole.0.iter().any(|(other_key, other_value)| other_key.eq_ignore_ascii_case(key) && other_value == value)
    })
}

/// A grant made by right of another one allows no more operations, under constraints no weaker (KMS Developer Guide,
/// "Granting CreateGrant permission").
fn may_make(parent: &GrantRecord, child: &Child) -> bool {
    let operations = child.operations.iter().all(|operation| parent.operations.contains(operation));
    let (wanted, given) = (&parent.constraints, &child.constraints);
    let as_narrow = match (&wanted.encryption_context_equals, &wanted.encryption_context_subset) {
        (None, None) => true,
        (Some(equals), _) => given.encryption_context_equals.as_ref() == Some(equals),
        (None, Some(subset)) => {
            let of_child = [&given.encryption_context_equals, &given.encryption_context_subset];
            of_child.into_iter().flatten().any(|pairs| contains(pairs, subset))
        }
    };
    operations && as_narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        EncryptionContext(pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn subset(pairs: &[(&str, &str)]) -> GrantConstraints {
        GrantConstraints { encryption_context_subset: Some(context(pairs)), ..Default::default() }
    }

    fn equals(pairs: &[(&str, &str)]) -> GrantConstraints {
        GrantConstraints { encryption_context_equals: Some(context(pairs)), ..Default::default() }
    }

    #[test]
    fn a_subset_admits_more_pairs_and_equals_does_not() {
        let both = context(&[("db", "1"), ("vol", "2")]);
        assert!(admits(&subset(&[("db", "1")]), &both));
        assert!(!admits(&equals(&[("db", "1")]), &both));
        assert!(admits(&equals(&[("db", "1"), ("vol", "2")]), &both));
        for constraints in [subset(&[("db", "1"), ("vol", "2")]), equals(&[("db", "1"), ("vol", "2")])] {
            assert!(!admits(&constraints, &context(&[("db", "1")])));
            assert!(!admits(&constraints, &context(&[])));
        }
        assert!(admits(&GrantConstraints::default(), &both));
    }

    #[test]
    fn keys_match_whatever_their_case_and_values_exactly() {
        assert!(admits(&subset(&[("Vol", "a")]), &context(&[("vol", "a")])));
        assert!(!admits(&subset(&[("vol", "A")]), &context(&[("vol", "a")])));
    }

    #[test]
    fn a_child_is_never_wider_than_its_parent() {
        let parent = |constraints| GrantRecord {
            id: crate::state::GrantId::from_bytes([1; 32]),
            key: crate::state::KeyId::from_bytes([2; 16]),
            created: jiff::Timestamp::UNIX_EPOCH,
            name: None,
            grantee: "arn:aws:iam::111122223333:user/a".into(),
            retiring: None,
            issuing_account_id: "111122223333".into(),
            operations: vec!["Decrypt".into(), "CreateGrant".into()],
            constraints,
        };
        let child = |operation: &str, constraints| Child { operations: vec![operation.into()], constraints };
        let narrow = subset(&[("vol", "1")]);
        assert!(may_make(&parent(GrantConstraints::default()), &child("Decrypt", GrantConstraints::default())));
        assert!(!may_make(&parent(GrantConstraints::default()), &child("Encrypt", GrantConstraints::default())));
        assert!(!may_make(&parent(narrow.clone()), &child("Decrypt", GrantConstraints::default())));
        assert!(!may_make(&parent(narrow.clone()), &child("Decrypt", subset(&[("vol", "2")]))));
        assert!(may_make(&parent(narrow.clone()), &child("Decrypt", narrow.clone())));
        assert!(may_make(&parent(narrow.clone()), &child("Decrypt", subset(&[("vol", "1"), ("db", "1")]))));
        assert!(may_make(&parent(narrow), &child("Decrypt", equals(&[("vol", "1")]))));
        assert!(!may_make(&parent(equals(&[("vol", "1")])), &child("Decrypt", subset(&[("vol", "1")]))));
        assert!(may_make(&parent(equals(&[("vol", "1")])), &child("Decrypt", equals(&[("vol", "1")]))));
    }
}
