//! A bound on what KMS and STS may answer: the SDK reads a body to its end, however long.

use aws_sdk_kms::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// The largest honest answer is a key policy (32 KiB, twice that once quoted as JSON).
const MAX_BODY_BYTES: usize = 256 * 1024;

/// A longer body fails to read, and so is no answer of KMS.
#[derive(Debug)]
pub(super) struct BodyLimit;

impl Intercept for BodyLimit {
    fn name(&self) -> &'static str {
        "BodyLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let unlimited = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(unlimited, MAX_BODY_BYTES));
        Ok(())
    }
}
