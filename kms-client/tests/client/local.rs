//! The contract and the local KMS.

use kms_client::{AwsKms, CallLog, EncryptionContext, KeyOrigin, KeyState, Kms, KmsAdmin, KmsKeyId, Login, Patience};
use local_kms::{InitOptions, ServeOptions};
use tokio::sync::oneshot;

use crate::contract::{AWS, connect, contract, furnish};
use crate::home::{Home, alone};

#[tokio::test]
async fn keeps_the_contract() {
    let Some(home) = alone("local::keeps_the_contract", &[]) else {
        return;
    };
    local_kms::init(&home.dir, &InitOptions::default()).expect("an empty home");
    let options = ServeOptions { listen: Some(([127, 0, 0, 1], 0).into()), allow_remote: false };
    let (stop, stopped) = oneshot::channel::<()>();
    let (listening, listens) = oneshot::channel();
    let serving = tokio::spawn({
        let dir = home.dir.clone();
        async move {
            let shutdown = async move {
                let _ = stopped.await;
            };
            local_kms::serve(&dir, options, shutdown, |address| {
                let _ = listening.send(address);
            })
            .await
        }
    });
    let endpoint = format!("http://{}", listens.await.expect("the server says where it listens"));
    write_profiles(&home, &endpoint);

    let peer = furnish("envol-admin", "impostor", AWS).await;
    let (kms, admin) = (connect("envol-admin").await, connect("envol-admin").await);
    contract(&kms, &admin, peer).await;
    what_a_drill_does().await;
    let _ = stop.send(());
    serving.await.expect("the server ends").expect("without an error");
}

/// A key with material from here, found by its description, and every call of it written down.
async fn what_a_drill_does() {
    let log = CallLog::default();
    let login = Login { profile: Some("envol-admin".to_owned()), region: None };
    let kms = AwsKms::connect_recorded(&login, Patience::INTERACTIVE, Some(&log)).await.expect("a login");
    let caller = kms.caller_arn().await.expect("an identity");
    assert!(caller.ends_with(":user/envol-admin"), "{caller}");

    let key = kms.create_key(KeyOrigin::External, "of a drill").await.expect("a key");
    let state = async || kms.describe_key(&KmsKeyId::from(&key)).await.expect("described").state;
    assert_eq!(state().await, KeyState::PendingImport);
    kms.import_key_material(&key, &[7; 32]).await.expect("imported");
    assert_eq!(state().await, KeyState::Enabled);
    assert_eq!(kms.keys_described("of a drill").await.expect("listed"), std::slice::from_ref(&key));
    assert!(kms.keys_described("of another").await.expect("listed").is_empty());
    assert!(kms.list_grants(&key).await.expect("listed").is_empty());
    kms.delete_imported_key_material(&key).await.expect("deleted");
    let refused = kms.generate_data_key(&KmsKeyId::from(&key), 32, &EncryptionContext::default()).await.err();
    let refused = refused.expect("there is no material");

    let records = log.records();
    assert!(records.iter().all(|call| call.request_id.is_some() && call.server_date.is_some()), "{records:?}");
    assert_eq!((records[0].service.as_str(), records[0].operation.as_str()), ("sts", "GetCallerIdentity"));
    let last = records.last().expect("calls");
    assert_eq!((&last.request_id, &last.error_code), (&refused.request_id, &refused.code));
    assert_eq!((last.operation.as_str(), last.http_status), ("GenerateDataKey", Some(400)));
}

/// The endpoint for the two users that `init` made, and a third profile: the volume service's name, another's secret.
fn write_profiles(home: &Home, endpoint: &str) {
    let credentials = std::fs::read_to_string(home.dir.join("aws/credentials")).expect("written by init");
    let name = |profile: &str, field: &str| {
        let (_, section) = credentials.split_once(&format!("[{profile}]")).expect("a user");
        let line = section.lines().find(|line| line.starts_with(field)).expect("a field");
        line.split_once('=').expect("a value").1.trim().to_owned()
    };
    let settings = format!("region = us-east-1\nendpoint_url = {endpoint}\n");
    home.write_config(&format!(
        "[profile envol-admin]\n{settings}[profile envol-volume]\n{settings}[profile impostor]\n{settings}\
         aws_access_key_id = {}\naws_secret_access_key = {}\n",
        name("envol-volume", "aws_access_key_id"),
        name("envol-admin", "aws_secret_access_key"),
    ));
}
