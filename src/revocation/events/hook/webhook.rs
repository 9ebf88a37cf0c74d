//! A hook that is a URL: the event as JSON in a POST.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::super::event::Event;

/// For one attempt, name server and all.
const DEADLINE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Webhook {
    url: Url,
    client: Result<Client, reqwest::Error>,
}

impl Webhook {
    pub(super) fn new(url: Url) -> Self {
        let client = Client::builder()
            .timeout(DEADLINE)
            // A POST that is redirected becomes a GET without the event.
            .redirect(Policy::none())
            .user_agent(concat!("envol/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { url, client }
    }

    /// Tried twice.
    pub(super) async fn post(&self, event: &Event) -> Result<(), String> {
        let client = self.client.as_ref().map_err(|error| with_causes(error))?;
        let json = serde_json::to_vec(event).map_err(|error| error.to_string())?;
        if self.try_post(client, json.clone()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        self.try_post(client, json).await
    }

    async fn try_post(&self, client: &Client, json: Vec<u8>) -> Result<(), String> {
        let request = client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(json);
        // Whoever knows the URL of a webhook may often post there: it is not for the log.
        let response = request.send().await.map_err(|error| with_causes(&error.without_url()))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
