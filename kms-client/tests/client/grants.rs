//! Grants as they go over the wire: what is asked, what a token does, and what never shows.

use std::time::Duration;

use kms_client::{
    Answer, AwsKms, EncryptionContext, Grant, GrantRequest, GrantToken, Kms, KmsError, KmsKeyArn, KmsKeyId, Login,
    Patience, WrappedKey,
};

use crate::canned::{Canned, Reply};
use crate::home::{Home, alone};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const TOKEN: &str = "AQpAM2RhZTk1MGMy";
const JSON: &str = "content-type: application/x-amz-json-1.1\r\n";
const SHORT: Patience = Patience {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(2),
    total: Duration::from_secs(5),
    max_attempts: 1,
};

async fn connect(home: &Home, server: &Canned) -> AwsKms {
    home.write_profile("admin", &server.endpoint());
    let login = Login { profile: Some("admin".to_owned()), region: None };
    AwsKms::connect(&login, SHORT).await.expect("a whole login")
}

fn error(code: &str) -> Reply {
    Reply::Http(400, JSON, format!(r#"{{"__type":"{code}","message":"in AWS's words"}}"#))
}

fn ok(body: String) -> Reply {
    Reply::Http(200, JSON, body)
}

fn granted() -> Reply {
    ok(format!(r#"{{"GrantId":"0c23","GrantToken":"{TOKEN}"}}"#))
}

fn request() -> GrantRequest {
    GrantRequest {
        key: KEY.parse().expect("an ARN"),
        grantee_principal: "arn:aws:iam::111122223333:role/envol-volume".parse().expect("an ARN"),
        retiring_principal: None,
        operations: vec!["Decrypt".to_owned()],
        context_subset: EncryptionContext::default().with("aws:ebs:id", "vol-1"),
        name: Some("vol-1".to_owned()),
    }
}

fn grant() -> Grant {
    Grant { id: "0c23".to_owned(), token: GrantToken::new(TOKEN) }
}

async fn decrypt(kms: &AwsKms) -> Result<(), KmsError> {
    let key: KmsKeyArn = KEY.parse().expect("an ARN");
    kms.decrypt(&key, &WrappedKey(vec![1; 32]), &EncryptionContext::default()).await.map(drop)
}

#[tokio::test]
async fn a_rehearsal_is_allowed_by_the_refusal_that_says_so() {
    let Some(home) = alone("grants::a_rehearsal_is_allowed_by_the_refusal_that_says_so", &[]) else {
        return;
    };
    let server = Canned::start(error("DryRunOperationException")).await;
    let kms = connect(&home, &server).await;
    kms.may_create_grant(&request()).await.expect("it would have succeeded");
    let [body] = &server.bodies()[..] else { panic!("one request") };
    assert!(body.contains(r#""DryRun":true"#), "{body}");

    for (code, answer) in [
        ("AccessDeniedException", Answer::AccessDenied),
        ("DisabledException", Answer::Disabled),
        ("LimitExceededException", Answer::Other),
    ] {
        server.will(error(code));
        let failure = kms.may_create_grant(&request()).await.expect_err(code);
        assert_eq!((failure.answer, failure.operation), (answer, "CreateGrant"), "{failure}");
    }
    // The real one asks the same, without that.
    server.will(granted());
    server.bodies();
    assert_eq!(kms.create_grant(&request()).await.expect("made").token, GrantToken::new(TOKEN));
    let [real] = &server.bodies()[..] else { panic!("one request") };
    assert!(!real.contains("DryRun"), "{real}");
    let pairs = [
        r#""GranteePrincipal":"arn:aws:iam::111122223333:role/envol-volume""#,
        r#""Constraints":{"EncryptionContextSubset":{"aws:ebs:id":"vol-1"}}"#,
        r#""Operations":["Decrypt"]"#,
        r#""Name":"vol-1""#,
    ];
    assert!(pairs.iter().all(|pair| real.contains(pair) && body.contains(pair)), "{real}\n{body}");
}

#[tokio::test]
async fn a_grant_that_a_rehearsal_made_is_retired() {
    let Some(home) = alone("grants::a_grant_that_a_rehearsal_made_is_retired", &[]) else {
        return;
    };
    let server = Canned::start(ok("{}".to_owned())).await;
    let kms = connect(&home, &server).await;
    server.will_first(granted());
    kms.may_create_grant(&request()).await.expect("allowed");
    let bodies = server.bodies();
    assert!(bodies.len() == 2 && bodies[1].contains(r#""GrantId":"0c23""#), "{bodies:?}");
}

#[tokio::test]
async fn a_token_goes_with_what_the_grant_allows_and_nowhere_else() {
    let Some(home) = alone("grants::a_token_goes_with_what_the_grant_allows_and_nowhere_else", &[]) else {
        return;
    };
    let server = Canned::start(error("AccessDeniedException")).await;
    let kms = connect(&home, &server).await;
    let id = KmsKeyId(KEY.to_owned());
    let tokens = format!(r#""GrantTokens":["{TOKEN}"]"#);
    let ask = async |kms: &AwsKms| {
        let failure = decrypt(kms).await.expect_err("denied");
        let _ = kms.describe_key(&id).await;
        let _ = kms.generate_data_key(&id, 64, &EncryptionContext::default()).await;
        assert!(!format!("{failure} {failure:?}").contains(TOKEN));
        server.bodies().iter().map(|body| body.contains(&tokens)).collect::<Vec<_>>()
    };
    assert_eq!(ask(&kms).await, [false, false, false]);
    let kms = kms.under_grant(Some(GrantToken::new(TOKEN)));
    assert_eq!(ask(&kms).await, [true, true, false]);
    assert_eq!(ask(&kms.fresh_connection()).await, [true, true, false], "a confirmation asks the same");
    let debug = format!("{:?} {:?}", GrantToken::new(TOKEN), grant());
    assert!(debug.contains("GrantToken") && !debug.contains(TOKEN), "{debug}");
}

/// Else the owner who revokes a grant would be taken for an outage.
#[tokio::test]
async fn a_token_that_is_not_taken_is_left_out_and_the_rest_decides() {
    let Some(home) = alone("grants::a_token_that_is_not_taken_is_left_out_and_the_rest_decides", &[]) else {
        return;
    };
    let server = Canned::start(error("AccessDeniedException")).await;
    let kms = connect(&home, &server).await.under_grant(Some(GrantToken::new(TOKEN)));
    server.will_first(error("InvalidGrantTokenException"));
    assert_eq!(decrypt(&kms).await.expect_err("denied").answer, Answer::AccessDenied);
    let bodies = server.bodies();
    assert!(bodies.len() == 2 && bodies[0].contains(TOKEN) && !bodies[1].contains(TOKEN), "{bodies:?}");

    server.will(ok(format!(r#"{{"KeyId":"{KEY}","Plaintext":"YWJj"}}"#)));
    server.will_first(error("InvalidGrantTokenException"));
    decrypt(&kms).await.expect("allowed by other means");
    // Only that answer is asked again.
    server.bodies();
    server.will_first(error("ValidationException"));
    assert_eq!(decrypt(&kms).await.expect_err("another no").answer, Answer::Other);
    assert_eq!(server.bodies().len(), 1);
}

#[tokio::test]
async fn a_grant_too_new_for_its_id_is_retired_by_its_token() {
    let Some(home) = alone("grants::a_grant_too_new_for_its_id_is_retired_by_its_token", &[]) else {
        return;
    };
    let server = Canned::start(ok("{}".to_owned())).await;
    let kms = connect(&home, &server).await;
    let key: KmsKeyArn = KEY.parse().expect("an ARN");
    kms.retire_grant(&key, &grant()).await.expect("retired");
    let bodies = server.bodies();
    assert!(bodies.len() == 1 && bodies[0].contains(r#""GrantId":"0c23""#) && bodies[0].contains(KEY), "{bodies:?}");

    for code in ["NotFoundException", "InvalidGrantIdException"] {
        server.will_first(error(code));
        kms.retire_grant(&key, &grant()).await.expect("retired");
        let bodies = server.bodies();
        assert!(bodies.len() == 2 && bodies[1].contains(TOKEN), "{bodies:?}");
    }
    server.will(error("NotFoundException"));
    assert!(kms.retire_grant(&key, &grant()).await.expect_err("gone").is_no_such_grant());
    server.bodies();
    server.will(error("AccessDeniedException"));
    let denied = kms.retire_grant(&key, &grant()).await.expect_err("denied");
    assert!(!denied.is_no_such_grant() && server.bodies().len() == 1, "{denied}");
}
