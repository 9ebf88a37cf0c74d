//! Writes each request and its answer into a [`CallLog`]. Of a body only that of an error is looked at.

use std::time::Instant;

use aws_sdk_kms::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use jiff::Timestamp;

use crate::call_log::{CallLog, CallRecord};

#[derive(Debug)]
pub(super) struct CallRecorder(pub(super) CallLog);

/// When the request went out.
#[derive(Debug)]
struct Started {
    at: Timestamp,
    instant: Instant,
}

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

impl Intercept for CallRecorder {
    fn name(&self) -> &'static str {
        "CallRecorder"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Started { at: Timestamp::now(), instant: Instant::now() });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Without it nothing was sent: there were no credentials, or the endpoint makes no sense.
        let Some(started) = config.load::<Started>() else { return Ok(()) };
        let (service, operation) = config
            .load::<Metadata>()
            .map_or_else(Default::default, |metadata| (metadata.service().to_lowercase(), metadata.name().to_owned()));
        let response = context.response();
        let header = |names: &[&str]| {
            let headers = response?.headers();
            names.iter().find_map(|name| headers.get(*name)).map(str::to_owned)
        };
        self.0.push(CallRecord {
            service,
            operation,
            request_id: header(&["x-amzn-requestid", "x-amz-request-id"]),
            started_at: started.at,
            took_ms: (started.instant.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            http_status: response.map(|response| response.status().as_u16()),
            error_code: response.and_then(error_code),
            server_date: header(&["date"]).and_then(|date| http_date(&date)),
        });
        Ok(())
    }
}

/// `__type` of an error as AWS JSON has it, without the name space before it.
fn error_code(response: &HttpResponse) -> Option<String> {
    if response.status().is_success() {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(response.body().bytes()?).ok()?;
    let name = body["__type"].as_str()?;
    Some(name.rsplit('#').next().unwrap_or(name).to_owned())
}

/// RFC 9110, as every server of today writes it: `Tue, 24 Nov 2026 21:00:00 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    let date = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_a_server_is_read() {
        let at = http_date("Tue, 24 Nov 2026 21:00:07 GMT").map(|at| at.to_string());
        assert_eq!(at.as_deref(), Some("2026-11-24T21:00:07Z"));
        assert_eq!(http_date("2026-11-24T21:00:07Z"), None);
    }
}
