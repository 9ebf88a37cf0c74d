//! Logging in: what is found, and what is said when something is missing.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use kms_client::{Answer, AwsKms, Kms, KmsError, KmsKeyId, Login, Patience};

use crate::canned::{Canned, Reply};
use crate::home::{Home, alone};

const NOT_FOUND: &str = r#"{"__type":"NotFoundException"}"#;

fn profile(name: &str) -> Login {
    Login { profile: Some(name.to_owned()), region: None }
}

async fn refused(login: &Login) -> KmsError {
    let failure = AwsKms::connect(login, Patience::INTERACTIVE).await.err().expect("nothing to log in with");
    println!("{failure}");
    assert_eq!(failure.answer, Answer::Unauthenticated);
    failure
}

fn names_files(failure: &KmsError, home: &Home) -> bool {
    let names = |file: &str| failure.message.contains(&home.dir.join(file).display().to_string());
    names("aws/config") && names("aws/credentials")
}

#[tokio::test]
async fn a_missing_profile_is_named_with_the_files_looked_at() {
    let Some(home) = alone("login::a_missing_profile_is_named_with_the_files_looked_at", &[]) else {
        return;
    };
    home.write_profile("volume", "http://127.0.0.1:1");
    let failure = refused(&profile("volumes")).await;
    assert!(failure.message.contains("`volumes`") && names_files(&failure, &home), "{failure}");
    assert!(AwsKms::connect(&profile("volume"), Patience::INTERACTIVE).await.is_ok());
}

/// The SDK would go on to the machine's own role.
#[tokio::test]
async fn a_missing_profile_in_aws_profile_is_an_error_too() {
    let variables = [("AWS_PROFILE", "volumes"), ("AWS_REGION", "us-east-1")];
    let Some(home) = alone("login::a_missing_profile_in_aws_profile_is_an_error_too", &variables) else {
        return;
    };
    let failure = refused(&Login::default()).await;
    assert!(failure.message.contains("`volumes`") && names_files(&failure, &home), "{failure}");
}

/// A profile is asked for to be someone else than the person at the prompt.
#[tokio::test]
async fn a_profile_without_credentials_is_not_filled_from_the_variables() {
    let variables = [("AWS_ACCESS_KEY_ID", "AKIDPERSON"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let test = "login::a_profile_without_credentials_is_not_filled_from_the_variables";
    let Some(home) = alone(test, &variables) else { return };
    home.write_config("[profile volume]\nregion = us-east-1\n");
    let failure = refused(&profile("volume")).await;
    assert!(failure.message.contains("in profile `volume`") && names_files(&failure, &home), "{failure}");
    let person = Login { profile: None, region: Some("us-east-1".to_owned()) };
    assert!(AwsKms::connect(&person, Patience::INTERACTIVE).await.is_ok());
}

#[tokio::test]
async fn without_a_region_the_error_says_what_sets_one() {
    let Some(home) = alone("login::without_a_region_the_error_says_what_sets_one", &[]) else {
        return;
    };
    home.write_config("[profile volume]\naws_access_key_id = a\naws_secret_access_key = b\n");
    let failure = refused(&profile("volume")).await;
    assert!(failure.message.contains("AWS_REGION") && failure.message.contains("`volume`"), "{failure}");
    let login = Login { region: Some("eu-west-1".to_owned()), ..profile("volume") };
    let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await.expect("a region");
    assert_eq!(kms.endpoint(), "https://kms.eu-west-1.amazonaws.com");
}

#[tokio::test]
async fn without_credentials_the_error_says_where_they_were_looked_for() {
    let variables = [("AWS_REGION", "us-east-1")];
    let Some(home) = alone("login::without_credentials_the_error_says_where_they_were_looked_for", &variables) else {
        return;
    };
    let failure = refused(&Login::default()).await;
    assert!(failure.message.contains("AWS_PROFILE") && names_files(&failure, &home), "{failure}");
}

#[tokio::test]
async fn the_login_given_wins_over_the_region_of_the_environment() {
    let variables = [("AWS_REGION", "us-east-1")];
    let Some(home) = alone("login::the_login_given_wins_over_the_region_of_the_environment", &variables) else {
        return;
    };
    home.write_config("[profile volume]\nregion = us-west-2\naws_access_key_id = a\naws_secret_access_key = b\n");
    for (region, host) in [(Some("eu-central-1"), "kms.eu-central-1"), (None, "kms.us-east-1")] {
        let login = Login { region: region.map(str::to_owned), ..profile("volume") };
        let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await.expect("a whole login");
        assert_eq!(kms.endpoint(), format!("https://{host}.amazonaws.com"));
    }
}

#[tokio::test]
async fn the_endpoint_of_the_variable_wins_over_that_of_the_profile() {
    let variables = [("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:4599")];
    let test = "login::the_endpoint_of_the_variable_wins_over_that_of_the_profile";
    let Some(home) = alone(test, &variables) else { return };
    home.write_profile("volume", "http://127.0.0.1:1");
    let kms = AwsKms::connect(&profile("volume"), Patience::INTERACTIVE).await.expect("a whole login");
    assert_eq!(kms.endpoint(), "http://127.0.0.1:4599");
}

/// Writes a profile whose credentials come from a script.
fn write_process_profile(home: &Home, endpoint: &str, script: &str) {
    let path = home.dir.join("credentials.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("an executable script");
    home.write_config(&format!(
        "[profile volume]\nregion = us-east-1\nendpoint_url = {endpoint}\ncredential_process = {}\n",
        path.display()
    ));
}

#[tokio::test]
async fn a_login_that_hangs_ends_with_the_patience() {
    let Some(home) = alone("login::a_login_that_hangs_ends_with_the_patience", &[]) else {
        return;
    };
    write_process_profile(&home, "http://127.0.0.1:1", "exec sleep 60");
    let patience = Patience { total: Duration::from_millis(500), ..Patience::PROBE };
    let begin = Instant::now();
    let failure = AwsKms::connect(&profile("volume"), patience).await.err().expect("the script never answers");
    println!("{failure}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(failure.answer, Answer::Unauthenticated);
    assert!(failure.message.contains("500ms") && failure.message.contains("`volume`"), "{failure}");
}

/// Credentials that expire at once, from a process that takes longer than an attempt may: each call still gets them.
#[tokio::test]
async fn credentials_slower_than_an_attempt_arrive_with_the_next() {
    let Some(home) = alone("login::credentials_slower_than_an_attempt_arrive_with_the_next", &[]) else {
        return;
    };
    let server = Canned::start(Reply::Http(400, "", NOT_FOUND.to_owned())).await;
    write_process_profile(
        &home,
        &server.endpoint(),
        r#"echo >> "$0.log"; [ $(wc -l < "$0.log") -gt 1 ] && sleep 2.5
           echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"c","Expiration":"2020-01-01T00:00:00Z"}'"#,
    );
    let attempt = Duration::from_secs(2);
    let patience = Patience { connect: attempt, attempt, total: Duration::from_secs(10), max_attempts: 1 };
    let kms = AwsKms::connect(&profile("volume"), patience).await.expect("the first load is quick");
    let mut answers = Vec::new();
    for _ in 0..3 {
        let failure = kms.describe_key(&KmsKeyId("alias/x".to_owned())).await.expect_err("no such key");
        println!("{failure}");
        answers.push(failure.answer);
    }
    // What was loaded at login; the second load takes too long; and then is there.
    assert_eq!(answers, [Answer::NotFound, Answer::Unauthenticated, Answer::NotFound]);
}

/// A machine without a metadata service whose network swallows the question.
#[tokio::test]
async fn a_silent_metadata_service_holds_nobody_up() {
    let variables = [("AWS_EC2_METADATA_DISABLED", "false")];
    let Some(home) = alone("login::a_silent_metadata_service_holds_nobody_up", &variables) else {
        return;
    };
    let metadata = Canned::start(Reply::Stall).await;
    for (region, missing) in [("", "no region"), ("region = us-east-1\n", "no credentials")] {
        home.write_config(&format!("[default]\n{region}ec2_metadata_service_endpoint = {}\n", metadata.endpoint()));
        let asked = metadata.requests();
        let begin = Instant::now();
        let failure = refused(&Login::default()).await;
        println!("{:?}", begin.elapsed());
        assert!(metadata.requests() > asked, "nobody asked, so nobody was held up");
        assert!(begin.elapsed() < Patience::PROBE.total, "{:?}", begin.elapsed());
        assert!(failure.message.starts_with(missing), "{failure}");
    }
}
