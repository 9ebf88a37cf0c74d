//! The KMS of the guardian: AWS's, or the local one, and whether its no is to be believed.

use std::net::{IpAddr, SocketAddr};

use kms_client::{AwsKms, GrantToken, KmsError, Login, Patience};

use crate::host::listener;
use crate::revocation::{KmsSource, Trust};

/// Makes a fresh client each time: a denial is confirmed over connections of its own.
pub(super) struct AwsSource {
    pub(super) login: Login,
    pub(super) grant_token: Option<GrantToken>,
}

impl KmsSource for AwsSource {
    type Client = AwsKms;

    async fn connect(&self) -> Result<AwsKms, KmsError> {
        Ok(AwsKms::connect(&self.login, Patience::PROBE).await?.under_grant(self.grant_token.clone()))
    }

    /// TLS proves who answers. Without it only a listener on this very host that belongs to root or to us is believed:
    /// any other user could take the port of a local KMS that is down, and end every volume with one answer.
    fn trust(&self, client: &AwsKms) -> Trust {
        let endpoint = client.endpoint();
        if endpoint.starts_with("https://") {
            return Trust::Proven;
        }
        let ours = [0, rustix::process::geteuid().as_raw()];
        match loopback(endpoint).map(listener::uids) {
            Some(Ok(uids)) if !uids.is_empty() && uids.iter().all(|uid| ours.contains(uid)) => Trust::ThisHost,
            _ => Trust::Nobody,
        }
    }
}

/// The address of an `http://` endpoint, if it is one of the loopback.
fn loopback(endpoint: &str) -> Option<SocketAddr> {
    const HTTP_PORT: u16 = 80;
    let authority = endpoint.strip_prefix("http://")?.split(['/', '?']).next()?;
    let authority = authority.replace("localhost", "127.0.0.1");
    let address = authority.parse::<SocketAddr>().ok();
    let bare = || authority.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, HTTP_PORT));
    address.or_else(bare).filter(|address| address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_looked_up() {
        for (endpoint, address) in [
            ("http://127.0.0.1:4599", "127.0.0.1:4599"),
            ("http://127.0.0.1:4599/", "127.0.0.1:4599"),
            ("http://localhost:4599", "127.0.0.1:4599"),
            ("http://[::1]:4599", "[::1]:4599"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(loopback(endpoint), address.parse().ok(), "{endpoint}");
        }
        for endpoint in
            ["http://10.0.0.1:4599", "http://kms.example:4599", "http://localhost.example", "https://127.0.0.1"]
        {
            assert_eq!(loopback(endpoint), None, "{endpoint}");
        }
    }
}
