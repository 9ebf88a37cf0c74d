//! What a server says, or fails to say, and the answer it becomes: through the SDK's own parsing, within the patience.

use std::time::{Duration, Instant};

use kms_client::{
    Answer, AwsKms, EncryptionContext, Kms, KmsAdmin, KmsError, KmsKeyArn, KmsKeyId, Login, Patience, WrappedKey,
};

use crate::canned::{Canned, Reply};
use crate::home::{Home, alone};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const JSON: &str = "content-type: application/x-amz-json-1.1\r\nx-amzn-requestid: 7f1d-42\r\n";
const HTML: &str = "content-type: text/html\r\n";
const SHORT: Patience = Patience {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(1),
    total: Duration::from_secs(3),
    max_attempts: 2,
};
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);

async fn connect(home: &Home, endpoint: &str) -> AwsKms {
    home.write_profile("volume", endpoint);
    let login = Login { profile: Some("volume".to_owned()), region: None };
    AwsKms::connect(&login, SHORT).await.expect("a whole login")
}

async fn decrypt(kms: &AwsKms) -> Result<usize, KmsError> {
    let key: KmsKeyArn = KEY.parse().expect("an ARN");
    let decrypted = kms.decrypt(&key, &WrappedKey(vec![1; 32]), &EncryptionContext::default()).await?;
    Ok(decrypted.plaintext.len())
}

async fn refused(kms: &AwsKms) -> KmsError {
    decrypt(kms).await.expect_err("no answer here is a yes")
}

fn error(code: &str) -> String {
    format!(r#"{{"__type":"{code}","message":"in AWS's words"}}"#)
}

#[tokio::test]
async fn each_code_is_one_answer() {
    let Some(home) = alone("answers::each_code_is_one_answer", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Close).await;
    let kms = connect(&home, &server.endpoint()).await;
    for (status, code, answer) in [
        (400, "DisabledException", Answer::Disabled),
        (400, "KMSInvalidStateException", Answer::InvalidState),
        (400, "AccessDeniedException", Answer::AccessDenied),
        (400, "NotFoundException", Answer::NotFound),
        (400, "IncorrectKeyException", Answer::WrongCiphertext),
        (400, "InvalidCiphertextException", Answer::WrongCiphertext),
        (400, "InvalidSignatureException", Answer::Unauthenticated),
        (400, "UnrecognizedClientException", Answer::Unauthenticated),
        (400, "ExpiredTokenException", Answer::Unauthenticated),
        (400, "MissingAuthenticationTokenException", Answer::Unauthenticated),
        (403, "MissingAuthenticationToken", Answer::Unauthenticated),
        (400, "IncompleteSignature", Answer::Unauthenticated),
        (403, "InvalidClientTokenId", Answer::Unauthenticated),
        (400, "ThrottlingException", Answer::Unreachable),
        (400, "RequestLimitExceeded", Answer::Unreachable),
        (500, "KeyUnavailableException", Answer::Unreachable),
        (500, "DependencyTimeoutException", Answer::Unreachable),
        (500, "KMSInternalException", Answer::Unreachable),
        (503, "ServiceUnavailable", Answer::Unreachable),
        // A denial that a broken server utters is not one.
        (500, "AccessDeniedException", Answer::Unreachable),
        (502, "DisabledException", Answer::Unreachable),
        (429, "NotFoundException", Answer::Unreachable),
        (400, "ValidationException", Answer::Other),
        (400, "LimitExceededException", Answer::Other),
        (400, "InvalidGrantTokenException", Answer::Other),
        (400, "DryRunOperationException", Answer::Other),
        (400, "CodeOfTheFutureException", Answer::Other),
        (400, "disabledexception", Answer::Other),
    ] {
        server.will(Reply::Http(status, JSON, error(code)));
        let failure = refused(&kms).await;
        assert_eq!(failure.answer, answer, "HTTP {status} {code}");
        assert_eq!(failure.code.as_deref(), Some(code));
        assert_eq!(failure.request_id.as_deref(), Some("7f1d-42"), "{code}");
        assert_eq!(failure.operation, "Decrypt");
        assert!(failure.message.starts_with("in AWS's words"), "{failure}");
    }
}

#[tokio::test]
async fn a_code_is_read_from_header_namespace_and_capitals() {
    let Some(home) = alone("answers::a_code_is_read_from_header_namespace_and_capitals", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Close).await;
    let kms = connect(&home, &server.endpoint()).await;
    for (headers, body) in [
        ("x-amzn-errortype: AccessDeniedException:http://internal.amazon.com/\r\n", "{}".to_owned()),
        (JSON, error("com.amazonaws.kms#AccessDeniedException")),
        (JSON, r#"{"__type":"AccessDeniedException","Message":"capital M"}"#.to_owned()),
    ] {
        server.will(Reply::Http(400, headers, body));
        assert_eq!(refused(&kms).await.answer, Answer::AccessDenied, "{headers}");
    }
}

#[tokio::test]
async fn what_is_not_an_answer_of_kms_is_unreachable_in_time() {
    let Some(home) = alone("answers::what_is_not_an_answer_of_kms_is_unreachable_in_time", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Close).await;
    let kms = connect(&home, &server.endpoint()).await;
    for (reply, said) in [
        (Reply::Http(403, HTML, "<h1>Forbidden</h1>".to_owned()), "HTTP 403 with text/html"),
        (Reply::Http(404, "", String::new()), "HTTP 404 with no content type"),
        (Reply::Http(400, JSON, r#"{"message":"Forbidden"}"#.to_owned()), "HTTP 400"),
        (Reply::Http(400, JSON, r#"["AccessDeniedException"]"#.to_owned()), "HTTP 400"),
        (Reply::Http(400, JSON, r#"{"__type":"AccessDeniedException""#.to_owned()), "HTTP 400"),
        (Reply::Http(302, "location: http://127.0.0.1:1/\r\n", String::new()), "HTTP 302"),
        (Reply::Http(200, HTML, "<h1>Welcome to the hotel</h1>".to_owned()), "HTTP 200 with text/html"),
        (Reply::Http(200, JSON, "{}".to_owned()), "no valid Plaintext"),
        (Reply::Http(200, JSON, format!(r#"{{"KeyId":"{KEY}","Plaintext":""}}"#)), "no valid Plaintext"),
        (Reply::Http(200, JSON, r#"{"KeyId":"1234","Plaintext":"YWJj"}"#.to_owned()), "no valid key ARN"),
        (Reply::Http(200, JSON, " ".repeat(1 << 20)), "HTTP 200"),
        (Reply::Endless, "HTTP 400"),
        (Reply::Close, "no answer from http://127.0.0.1:"),
        (Reply::Stall, "no answer from http://127.0.0.1:"),
        (Reply::StallInBody, "after 1s"),
        (Reply::Garbage, "no answer from http://127.0.0.1:"),
    ] {
        server.will(reply);
        let begin = Instant::now();
        let failure = refused(&kms).await;
        let took = begin.elapsed();
        println!("{took:?}: {failure}");
        assert_eq!(failure.answer, Answer::Unreachable, "{failure}");
        assert_eq!(failure.code, None, "{failure}");
        assert!(failure.message.contains(said), "{failure}");
        assert!(took < SHORT.total + SLACK, "{failure} took {took:?}");
    }
    // The client is none the worse for it.
    server.will(Reply::Http(200, JSON, format!(r#"{{"KeyId":"{KEY}","Plaintext":"YWJj"}}"#)));
    assert_eq!(decrypt(&kms).await.expect("a whole answer"), 3);
}

#[tokio::test]
async fn a_connect_failure_names_endpoint_and_cause() {
    let Some(home) = alone("answers::a_connect_failure_names_endpoint_and_cause", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Close).await;
    let endpoint = server.endpoint();
    drop(server);
    for (endpoint, cause) in [(endpoint.as_str(), "Connection refused"), ("http://kms.invalid", "dns error")] {
        let failure = refused(&connect(&home, endpoint).await).await;
        println!("{failure}");
        assert_eq!(failure.answer, Answer::Unreachable);
        assert!(failure.message.contains(endpoint) && failure.message.contains(cause), "{failure}");
        assert!(!failure.message.contains("dispatch failure"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_without_tls_behind_https_is_unreachable() {
    let Some(home) = alone("answers::a_server_without_tls_behind_https_is_unreachable", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Garbage).await;
    let endpoint = format!("https://{}", server.address);
    let failure = refused(&connect(&home, &endpoint).await).await;
    println!("{failure}");
    assert_eq!(failure.answer, Answer::Unreachable);
    assert!(failure.message.contains(&endpoint), "{failure}");
}

#[tokio::test]
async fn attempts_are_counted_and_only_worth_it_ones_repeated() {
    let Some(home) = alone("answers::attempts_are_counted_and_only_worth_it_ones_repeated", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Close).await;
    let kms = connect(&home, &server.endpoint()).await;
    for (status, code, attempts) in
        [(400, "DisabledException", 1), (400, "ThrottlingException", 2), (500, "KMSInternalException", 2)]
    {
        server.will(Reply::Http(status, JSON, error(code)));
        let before = server.requests();
        refused(&kms).await;
        assert_eq!(server.requests() - before, attempts, "{code}");
    }
}

#[tokio::test]
async fn a_fresh_connection_shares_neither_connections_nor_spent_retries() {
    let Some(home) = alone("answers::a_fresh_connection_shares_neither_connections_nor_spent_retries", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Http(400, JSON, error("AccessDeniedException"))).await;
    let kms = connect(&home, &server.endpoint()).await;
    refused(&kms).await;
    refused(&kms).await;
    assert_eq!(server.connections(), 1, "one client keeps its connection");
    refused(&kms.fresh_connection()).await;
    assert_eq!(server.connections(), 2, "a fresh one opens its own");

    // The SDK's bucket holds 500 tokens; each repeated 5xx takes one or more and gives none back.
    server.will(Reply::Http(500, "connection: keep-alive\r\n", error("KMSInternalException")));
    let spent = async |kms: &AwsKms| {
        let before = server.requests();
        refused(kms).await;
        server.requests() - before == 1
    };
    let mut calls = 0;
    while !spent(&kms).await {
        calls += 1;
        assert!(calls < 200, "the bucket never runs dry, so this test proves nothing");
    }
    assert!(!spent(&kms.fresh_connection()).await, "a fresh one repeats as if nothing had happened");
    assert_eq!(kms.fresh_connection().endpoint(), kms.endpoint());
}

#[tokio::test]
async fn a_key_that_asymmetric_crypto_owns_wraps_nothing() {
    let Some(home) = alone("answers::a_key_that_asymmetric_crypto_owns_wraps_nothing", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Close).await;
    let kms = connect(&home, &server.endpoint()).await;
    for (usage, spec, wraps) in [
        ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", true),
        ("ENCRYPT_DECRYPT", "RSA_4096", false),
        ("GENERATE_VERIFY_MAC", "HMAC_256", false),
    ] {
        let metadata = format!(
            r#"{{"KeyMetadata":{{"KeyId":"x","Arn":"{KEY}","KeyState":"Dormant","KeyUsage":"{usage}","KeySpec":"{spec}"}}}}"#
        );
        server.will(Reply::Http(200, JSON, metadata));
        let description = kms.describe_key(&KmsKeyId(KEY.to_owned())).await.expect("a whole answer");
        assert_eq!(description.wraps_data_keys, wraps, "{usage} {spec}");
        assert_eq!(description.state, kms_client::KeyState::Other("Dormant".to_owned()));
    }
}

#[tokio::test]
async fn a_list_that_never_gets_on_is_given_up() {
    let Some(home) = alone("answers::a_list_that_never_gets_on_is_given_up", &[]) else {
        return;
    };
    let page = |rest: &str| Reply::Http(200, JSON, format!(r#"{{"Grants":[{{"GrantId":"g"}}]{rest}}}"#));
    let server = Canned::start(page(r#","Truncated":true,"NextMarker":"again""#)).await;
    let kms = connect(&home, &server.endpoint()).await;
    let key: KmsKeyArn = KEY.parse().expect("an ARN");
    let error = kms.list_grants(&key).await.expect_err("it has no end");
    assert!(error.answer == Answer::Unreachable && error.message.contains("NextMarker"), "{error}");
    assert_eq!(server.requests(), 2);

    // The control: it gets on, and ends.
    server.will_first(page(r#","Truncated":true,"NextMarker":"first""#));
    server.will_first(page(r#","Truncated":true,"NextMarker":"second""#));
    server.will(page(""));
    assert_eq!(kms.list_grants(&key).await.expect("three pages").len(), 3);
}
