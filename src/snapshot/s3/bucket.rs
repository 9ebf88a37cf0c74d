//! A bucket: small requests and uploads with the patience that each needs, and errors that a person can read.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::failure::{Place, was_cut_off};

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) requests: AmazonS3,
    pub(super) uploads: AmazonS3,
    pub(super) place: Place,
}

/// What is larger is an upload.
const SMALL: usize = 1 << 20;

const REPEATS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(500);

impl Bucket {
    async fn store(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let client = if payload.content_length() > SMALL { &self.uploads } else { &self.requests };
        // A conditional put is not repeated by the client, which cannot know whether the first one was done. Here it does no
        // harm: whoever is told that the object exists looks whose it is.
        let repeats = if options.mode == PutMode::Create { REPEATS } else { 0 };
        for _ in 0..repeats {
            match client.put_opts(location, payload.clone(), options.clone()).await {
                Err(error) if was_cut_off(&error) => {
                    tracing::info!("storing {location} once more: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
        client.put_opts(location, payload, options).await
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.store)
    }
}

// As `async_trait` would have it.
impl ObjectStore for Bucket {
    fn put_opts<'s, 'l, 'f>(
        &'s self,
        location: &'l Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'f, Result<PutResult>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        Box::pin(self.store(location, payload, options).map_err(|error| self.place.explain(error)))
    }

    fn put_multipart_opts<'s, 'l, 'f>(
        &'s self,
        location: &'l Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        Box::pin(self.uploads.put_multipart_opts(location, options).map_err(|error| self.place.explain(error)))
    }

    fn get_opts<'s, 'l, 'f>(&'s self, location: &'l Path, options: GetOptions) -> BoxFuture<'f, Result<GetResult>>
    where
        's: 'f,
        'l: 'f,
        Self: 'f,
    {
        Box::pin(self.requests.get_opts(location, options).map_err(|error| self.place.explain(error)))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let place = self.place.clone();
        self.requests.delete_stream(locations).map_err(move |error| place.explain(error)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = self.place.clone();
        self.requests.list(prefix).map_err(move |error| place.explain(error)).boxed()
    }

    fn list_with_delimiter<'s, 'p, 'f>(&'s self, prefix: Option<&'p Path>) -> BoxFuture<'f, Result<ListResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        Box::pin(self.requests.list_with_delimiter(prefix).map_err(|error| self.place.explain(error)))
    }

    fn copy_opts<'s, 'a, 'b, 'f>(
        &'s self,
        from: &'a Path,
        to: &'b Path,
        options: CopyOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        's: 'f,
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.requests.copy_opts(from, to, options).map_err(|error| self.place.explain(error)))
    }
}
