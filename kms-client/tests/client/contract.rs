//! One body of promises for everything that calls itself a KMS.
//!
//! What a volume relies on is asserted of each peer alike. Where a peer is known to differ from AWS, [`Known`] says so,
//! and the difference is asserted too, so that its end is noticed.

use aws_config::BehaviorVersion;
use aws_sdk_kms::types::KeyUsageType;
use kms_client::{
    Answer, AwsKms, EncryptionContext, GrantRequest, KeyState, Kms, KmsAdmin, KmsError, KmsKeyArn, KmsKeyId, Login,
    Patience, WrappedKey,
};

const KEY_BYTES: u16 = 64;

/// What peers are known to do differently. `Ok` where the call succeeds.
pub(crate) struct Known {
    /// Decrypt that names another key than the one that wrapped.
    wrong_key: Answer,
    /// Any call signed with a secret that is not the caller's.
    wrong_secret: Result<(), Answer>,
    create_grant: Result<(), Answer>,
    /// Whether retiring a grant that is gone is an error.
    misses_grants: bool,
    key_policy: Result<(), Answer>,
    /// Whether a key's state decides what it can be used for.
    states_count: bool,
}

/// As AWS documents it (<https://docs.aws.amazon.com/kms/latest/APIReference/API_Operations.html>).
pub(crate) const AWS: Known = Known {
    wrong_key: Answer::WrongCiphertext,
    wrong_secret: Err(Answer::Unauthenticated),
    create_grant: Ok(()),
    misses_grants: true,
    key_policy: Ok(()),
    states_count: true,
};

/// Checks no signature, takes a wrong key for a denial, does not miss a grant, and lets a key in any state work.
pub(crate) const MOTO: Known =
    Known { wrong_key: Answer::AccessDenied, wrong_secret: Ok(()), misses_grants: false, states_count: false, ..AWS };

/// What the contract needs beside the two faces of the KMS.
pub(crate) struct Peer<K> {
    /// Two enabled keys, and an alias of the first.
    key: KmsKeyArn,
    other_key: KmsKeyArn,
    alias: KmsKeyId,
    /// The caller's name with another secret.
    impostor: K,
    /// For what no face of ours does: moto changes a state only for whoever names the key by its bare id.
    sdk: aws_sdk_kms::Client,
    known: Known,
}

fn answer_of<T>(result: Result<T, KmsError>) -> Result<(), Answer> {
    result.map(|_| ()).map_err(|failure| failure.answer)
}

pub(crate) async fn contract<K: Kms>(kms: &K, admin: &impl KmsAdmin, peer: Peer<K>) {
    let Peer { key, other_key, alias, impostor, sdk, known } = peer;
    let id = KmsKeyId::from(&key);
    let context = EncryptionContext::default().with("aws:rds:db-id", "db-1").with("aws:ebs:id", "vol-1");
    let no_context = EncryptionContext::default();

    // A key answers to its id, its ARN, its alias and its alias's ARN.
    let (prefix, bare) = key.as_str().split_once("key/").expect("a key's ARN");
    for name in [key.as_str(), bare, &alias.0, &format!("{prefix}{}", alias.0)] {
        let described = kms.describe_key(&KmsKeyId(name.to_owned())).await.expect(name);
        assert_eq!((&described.arn, &described.state, described.wraps_data_keys), (&key, &KeyState::Enabled, true));
    }
    let nobody = format!("{prefix}key/00000000-0000-4000-8000-000000000000");
    for name in [nobody.as_str(), "alias/nobody"] {
        let failure = kms.describe_key(&KmsKeyId(name.to_owned())).await.expect_err("no such key");
        assert_eq!(failure.answer, Answer::NotFound, "{failure}");
        assert!(failure.message.contains(name.rsplit('/').next().expect("a name")), "{failure}");
    }
    let unknown = kms.generate_data_key(&KmsKeyId(nobody), KEY_BYTES, &context).await;
    assert_eq!(answer_of(unknown), Err(Answer::NotFound));

    // Keys are fresh, of the length asked for, and wrapped so that only key and context together unwrap them.
    let made = kms.generate_data_key(&alias, KEY_BYTES, &context).await.expect("an enabled key");
    let again = kms.generate_data_key(&id, KEY_BYTES, &context).await.expect("an enabled key");
    assert_eq!((made.plaintext.len(), &made.kms_key), (usize::from(KEY_BYTES), &key));
    assert!(made.plaintext != again.plaintext && made.wrapped != again.wrapped, "the same key twice");
    let unwrapped = kms.decrypt(&key, &made.wrapped, &context).await.expect("what was just wrapped");
    assert!(unwrapped.plaintext == made.plaintext, "another key came back");
    assert_eq!(unwrapped.kms_key, key);

    let (unseen, wrapping_key) =
        kms.generate_data_key_without_plaintext(&id, KEY_BYTES, &context).await.expect("an enabled key");
    assert_eq!(wrapping_key, key);
    let seen = kms.decrypt(&key, &unseen, &context).await.expect("what was just wrapped");
    assert_eq!(seen.plaintext.len(), usize::from(KEY_BYTES));

    // Wrong contexts: missing, another value, one pair more.
    let swapped = context.clone().with("aws:ebs:id", "vol-2");
    let more = context.clone().with("envol:use", "canary");
    for wrong in [&no_context, &swapped, &more] {
        let failure = kms.decrypt(&key, &unseen, wrong).await.err().expect("a wrong context");
        assert_eq!(failure.answer, Answer::WrongCiphertext, "{failure}");
    }
    let bare_made = kms.generate_data_key(&id, 32, &no_context).await.expect("an enabled key");
    let bare_unwrapped = kms.decrypt(&key, &bare_made.wrapped, &no_context).await.expect("what was just wrapped");
    assert!(bare_unwrapped.plaintext == bare_made.plaintext, "another key came back");
    let failure = kms.decrypt(&key, &bare_made.wrapped, &context).await.err().expect("a context too many");
    assert_eq!(failure.answer, Answer::WrongCiphertext, "{failure}");

    // A wrapped key that was changed, and one of another KMS key.
    let mut changed = unseen.clone();
    *changed.0.last_mut().expect("not empty") ^= 1;
    assert_eq!(answer_of(kms.decrypt(&key, &changed, &context).await), Err(Answer::WrongCiphertext));
    assert_eq!(answer_of(kms.decrypt(&other_key, &unseen, &context).await), Err(known.wrong_key));

    // To another KMS key without the plaintext.
    let moved = kms.re_encrypt(&key, &unseen, &context, &KmsKeyId::from(&other_key)).await.expect("two enabled keys");
    assert_eq!(moved.kms_key, other_key);
    let after = kms.decrypt(&other_key, &moved.wrapped, &context).await.expect("what was just moved");
    assert!(after.plaintext == seen.plaintext, "another key came back");
    let wrong = kms.re_encrypt(&key, &unseen, &swapped, &KmsKeyId::from(&other_key)).await;
    assert_eq!(answer_of(wrong), Err(Answer::WrongCiphertext));
    assert_eq!(answer_of(kms.decrypt(&key, &moved.wrapped, &context).await), Err(known.wrong_key));

    assert_eq!(answer_of(impostor.describe_key(&id).await), known.wrong_secret);
    let out_of_range = kms.generate_data_key(&id, 1025, &context).await.err().expect("1024 is the most");
    assert_eq!(out_of_range.answer, Answer::Other, "{out_of_range}");

    grants(kms, admin, &key, &known).await;
    policies(admin, &key, &known).await;
    if known.states_count {
        states(kms, admin, &key, &unseen, &context).await;
    } else {
        states_mean_nothing(kms, admin, &sdk, &key, &unseen, &context).await;
    }
}

async fn grants(kms: &impl Kms, admin: &impl KmsAdmin, key: &KmsKeyArn, known: &Known) {
    let account = key.as_str().split(':').nth(4).expect("a key's ARN");
    let request = GrantRequest {
        key: key.clone(),
        grantee_principal: format!("arn:aws:iam::{account}:root").parse().expect("an ARN"),
        // Whoever asks, at the local KMS: retiring is for whom the grant names.
        retiring_principal: Some(format!("arn:aws:iam::{account}:user/envol-admin").parse().expect("an ARN")),
        operations: vec!["Decrypt".to_owned(), "RetireGrant".to_owned()],
        context_subset: EncryptionContext::default().with("aws:ebs:id", "vol-1"),
        name: Some("vol-1".to_owned()),
    };
    assert_eq!(answer_of(kms.may_create_grant(&request).await), known.create_grant);
    let granted = kms.create_grant(&request).await;
    assert_eq!(answer_of(granted.as_ref().map_err(Clone::clone)), known.create_grant);
    if let Ok(grant) = granted {
        assert!(!grant.id.is_empty());
        kms.retire_grant(key, &grant).await.expect("the grant just made");
        let again = kms.retire_grant(key, &grant).await.map_err(|error| error.is_no_such_grant());
        assert_eq!(again, if known.misses_grants { Err(true) } else { Ok(()) });
        let grant = kms.create_grant(&request).await.expect("as before");
        admin.revoke_grant(key, &grant.id).await.expect("the grant just made");
    }
}

async fn policies(admin: &impl KmsAdmin, key: &KmsKeyArn, known: &Known) {
    let read = admin.key_policy(key).await;
    assert_eq!(answer_of(read.as_ref().map_err(Clone::clone)), known.key_policy);
    if let Ok(policy) = read {
        assert!(policy.contains("kms:*"), "{policy}");
        admin.put_key_policy(key, &policy).await.expect("its own policy");
        assert_eq!(admin.key_policy(key).await.expect("every key has one"), policy);
    }
}

/// Away and back: disabled, enabled, to be deleted, not to be deleted after all, enabled.
async fn states(
    kms: &impl Kms,
    admin: &impl KmsAdmin,
    key: &KmsKeyArn,
    wrapped: &WrappedKey,
    context: &EncryptionContext,
) {
    let id = KmsKeyId::from(key);
    let state = async || kms.describe_key(&id).await.expect("a key in any state").state;
    let uses = async |expected: Result<(), Answer>| {
        assert_eq!(answer_of(kms.decrypt(key, wrapped, context).await), expected, "Decrypt");
        assert_eq!(answer_of(kms.generate_data_key(&id, KEY_BYTES, context).await), expected, "GenerateDataKey");
        assert_eq!(answer_of(kms.re_encrypt(key, wrapped, context, &id).await), expected, "ReEncrypt");
    };

    uses(Ok(())).await;
    admin.disable_key(key).await.expect("an enabled key");
    assert_eq!(state().await, KeyState::Disabled);
    uses(Err(Answer::Disabled)).await;
    admin.enable_key(key).await.expect("a disabled key");
    assert_eq!(state().await, KeyState::Enabled);
    uses(Ok(())).await;

    admin.schedule_key_deletion(key, 7).await.expect("an enabled key");
    assert_eq!(state().await, KeyState::PendingDeletion);
    uses(Err(Answer::InvalidState)).await;
    assert_eq!(answer_of(admin.enable_key(key).await), Err(Answer::InvalidState));
    admin.cancel_key_deletion(key).await.expect("a key to be deleted");
    assert_eq!(state().await, KeyState::Disabled, "CancelKeyDeletion alone brings nothing back");
    admin.enable_key(key).await.expect("a disabled key");
    uses(Ok(())).await;

    // Only material that was imported can be taken away.
    let taken = admin.delete_imported_key_material(key).await;
    assert_eq!(answer_of(taken), Err(Answer::Other));
    uses(Ok(())).await;
}

/// As far as `moto` goes: the state changes, and the key goes on working.
async fn states_mean_nothing(
    kms: &impl Kms,
    admin: &impl KmsAdmin,
    sdk: &aws_sdk_kms::Client,
    key: &KmsKeyArn,
    wrapped: &WrappedKey,
    context: &EncryptionContext,
) {
    let id = KmsKeyId::from(key);
    let (_, bare) = key.as_str().split_once("key/").expect("a key's ARN");
    let works = async |expected: KeyState| {
        let state = kms.describe_key(&id).await.expect("a key in any state").state;
        assert_eq!(state, expected);
        assert_eq!(answer_of(kms.decrypt(key, wrapped, context).await), Ok(()), "{expected:?}");
    };
    // An ARN is a 500 here, so this is as far as our own face of it goes.
    assert_eq!(answer_of(admin.disable_key(key).await), Err(Answer::Unreachable));
    works(KeyState::Enabled).await;
    sdk.disable_key().key_id(bare).send().await.expect("an enabled key");
    works(KeyState::Disabled).await;
    sdk.schedule_key_deletion().key_id(bare).send().await.expect("a key not yet to be deleted");
    works(KeyState::PendingDeletion).await;
    sdk.enable_key().key_id(bare).send().await.expect("even now");
    works(KeyState::Enabled).await;
}

pub(crate) async fn connect(profile: &str) -> AwsKms {
    let login = Login { profile: Some(profile.to_owned()), region: None };
    AwsKms::connect(&login, Patience::INTERACTIVE).await.expect(profile)
}

/// Makes what the contract needs with the plain SDK, since no volume and no drill ever creates a key.
pub(crate) async fn furnish(profile: &str, impostor: &str, known: Known) -> Peer<AwsKms> {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).profile_name(profile);
    let sdk = aws_sdk_kms::Client::new(&config.load().await);
    let mut keys = Vec::new();
    for _ in 0..2 {
        // The default, but moto describes a key without it unless told.
        let made = sdk.create_key().key_usage(KeyUsageType::EncryptDecrypt).send().await.expect("CreateKey");
        let arn = made.key_metadata().and_then(|metadata| metadata.arn()).expect("an ARN");
        keys.push(arn.parse::<KmsKeyArn>().expect("the ARN of a key"));
    }
    let alias = KmsKeyId("alias/contract".to_owned());
    let naming = sdk.create_alias().alias_name(&alias.0).target_key_id(keys[0].as_str());
    naming.send().await.expect("CreateAlias");
    let other_key = keys.pop().expect("two keys");
    let key = keys.pop().expect("two keys");
    Peer { key, other_key, alias, impostor: connect(impostor).await, sdk, known }
}
