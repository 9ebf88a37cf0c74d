//! The contract and the local KMS.

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
    let _ = stop.send(());
    serving.await.expect("the server ends").expect("without an error");
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
