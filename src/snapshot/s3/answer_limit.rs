//! A bound on what S3 may answer: the client reads a body to its end, and makes room for whatever length it was promised.

use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

use crate::snapshot::MAX_HEADER_LEN;

/// The largest object that is asked for as a whole: a manifest, whose root has no more than 16 MiB beside its header (the leaves of
/// 64 TiB, 128 bytes each).
const WHOLE_OBJECT: u64 = MAX_HEADER_LEN as u64 + (16 << 20);

/// A page of a listing: 1000 names of 1024 bytes, each of which XML may write as six, and what is said of them.
const PAGE: u64 = 16 << 20;

/// Where a part of an object was asked for that is smaller.
const ERROR: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct AnswerLimit;

impl HttpConnector for AnswerLimit {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Limiting(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Limiting(HttpClient);

#[derive(Debug, thiserror::Error)]
#[error("it answers with more than the {most} bytes that anything asked for can have")]
struct TooLong {
    most: u64,
}

impl Limiting {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Its answer has a length, and nothing else.
        let is_head = request.method().as_str() == "HEAD";
        let is_whole_object = request.method().as_str() == "GET" && request.uri().query().is_none();
        let range = request.headers().get("range").and_then(|range| range.to_str().ok()).and_then(len_of);
        let most = match range {
            Some(len) => len.max(ERROR),
            None if is_whole_object => WHOLE_OBJECT,
            None => PAGE,
        };
        let too_long = move || HttpError::new(HttpErrorKind::Decode, TooLong { most });
        let (parts, body) = self.0.execute(request).await?.into_parts();
        let promised = parts.headers.get("content-length").and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
        if !is_head && promised.is_some_and(|len| len > most) {
            return Err(too_long());
        }
        let limited = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
        let limited = limited.map_err(move |error| match error.downcast::<HttpError>() {
            Ok(error) => *error,
            Err(_) => too_long(),
        });
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(limited)))
    }
}

// As `async_trait` would have it.
impl HttpService for Limiting {
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> BoxFuture<'f, Result<HttpResponse, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.ask(request))
    }
}

/// Of `bytes=FIRST-LAST`.
fn len_of(range: &str) -> Option<u64> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::len_of;

    #[test]
    fn the_length_of_a_range_is_read_from_its_ends() {
        for (range, len) in [("bytes=0-0", Some(1)), ("bytes=16-4111", Some(4096))] {
            assert_eq!(len_of(range), len, "{range}");
        }
        for range in ["bytes=-5", "bytes=5-", "bytes=5-3", "bytes=0-18446744073709551615", "lines=0-1", ""] {
            assert_eq!(len_of(range), None, "{range}");
        }
    }
}
