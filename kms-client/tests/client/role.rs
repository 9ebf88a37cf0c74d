//! A profile that assumes a role, where STS is not AWS's: against moto, which serves both.

use kms_client::{AwsKms, Kms, KmsKeyId, Login, Patience};

use crate::home::{Home, alone, is_alone};
use crate::moto::Moto;

const ROLE: &str = "arn:aws:iam::123456789012:role/envol-volume";

/// A role profile, the person behind it, and whatever more the role's profile says.
fn write_role(home: &Home, more: &str) {
    home.write_config(&format!(
        "[profile person]\nregion = us-east-1\naws_access_key_id = AKIDPERSON\naws_secret_access_key = secret\n\
         [profile volume]\nregion = us-east-1\nrole_arn = {ROLE}\nsource_profile = person\n{more}"
    ));
}

/// With the credentials of the role, since without them nothing is asked of KMS.
async fn asks_kms(profile: Option<&str>) {
    let login = Login { profile: profile.map(str::to_owned), region: None };
    let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await.expect("the role is assumed");
    let failure = kms.describe_key(&KmsKeyId("alias/nobody".to_owned())).await.expect_err("no such key");
    assert_eq!(failure.answer, kms_client::Answer::NotFound, "{failure}");
}

/// Runs itself with the variables, which only whoever has started moto knows.
fn with_moto(test: &str, variables: &[&str], more: &[(&str, &str)]) -> Option<Home> {
    if is_alone() {
        return alone(test, &[]);
    }
    let moto = Moto::start();
    let endpoints = variables.iter().map(|name| (*name, moto.endpoint.as_str()));
    let all: Vec<_> = endpoints.chain(more.iter().copied()).collect();
    alone(test, &all)
}

#[tokio::test]
async fn a_role_is_assumed_at_the_endpoint_of_the_variable() {
    let variables = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_KMS"];
    let test = "role::a_role_is_assumed_at_the_endpoint_of_the_variable";
    let Some(home) = with_moto(test, &variables, &[]) else { return };
    write_role(&home, "");
    asks_kms(Some("volume")).await;
}

/// The way of whoever types `AWS_PROFILE=volume envol create`.
#[tokio::test]
async fn a_role_in_aws_profile_is_assumed_at_the_endpoint_of_the_variable() {
    let variables = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_KMS"];
    let test = "role::a_role_in_aws_profile_is_assumed_at_the_endpoint_of_the_variable";
    let Some(home) = with_moto(test, &variables, &[("AWS_PROFILE", "volume")]) else { return };
    write_role(&home, "");
    asks_kms(None).await;
}

#[tokio::test]
async fn a_role_is_assumed_at_the_endpoint_of_the_services_section() {
    let test = "role::a_role_is_assumed_at_the_endpoint_of_the_services_section";
    let Some(home) = with_moto(test, &["KMS_CLIENT_TEST_MOTO"], &[]) else { return };
    let endpoint = std::env::var("KMS_CLIENT_TEST_MOTO").expect("given above");
    let services = format!("[services here]\nsts =\n  endpoint_url = {endpoint}\nkms =\n  endpoint_url = {endpoint}\n");
    write_role(&home, &format!("services = here\n{services}"));
    asks_kms(Some("volume")).await;
}

/// The control: where nobody listens, no role is assumed, and AWS is not asked instead.
#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_a_failed_login() {
    let variables = [("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")];
    let Some(home) = alone("role::a_role_that_cannot_be_assumed_is_a_failed_login", &variables) else {
        return;
    };
    write_role(&home, "");
    let login = Login { profile: Some("volume".to_owned()), region: None };
    let failure = AwsKms::connect(&login, Patience::INTERACTIVE).await.err().expect("nobody listens");
    println!("{failure}");
    assert!(failure.message.contains("`volume`") && failure.message.contains("Connection refused"), "{failure}");
}
