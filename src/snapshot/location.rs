//! Where snapshots are kept: a directory, or a prefix in a bucket of S3.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::SnapshotError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation(pub(super) Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Directory(PathBuf),
    S3 { bucket: String, prefix: String },
}

impl StoreLocation {
    /// None for S3.
    pub fn directory(&self) -> Option<&Path> {
        match &self.0 {
            Place::Directory(path) => Some(path),
            Place::S3 { .. } => None,
        }
    }
}

impl FromStr for StoreLocation {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused =
            |problem: &str| Err(SnapshotError::Refused(format!("`{text}` is no place for snapshots: {problem}")));
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            if bucket.is_empty() || bucket.contains(['?', '#', '@', ':']) {
                return refused("it has to be s3://BUCKET/PREFIX");
            }
            if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
                return refused("a prefix has no empty parts and no `..`");
            }
            return Ok(Self(Place::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }));
        }
        if text.is_empty() || text.contains("://") {
            return refused("use a directory or s3://BUCKET/PREFIX");
        }
        let path =
            std::path::absolute(text).map_err(|error| SnapshotError::host("find the working directory", error))?;
        Ok(Self(Place::Directory(path)))
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Directory(path) => path.display().fmt(f),
            Place::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Place::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_reads_as_it_is_written() {
        for text in ["/var/lib/snapshots", "s3://bucket", "s3://bucket/a/b"] {
            assert_eq!(text.parse::<StoreLocation>().unwrap().to_string(), text);
        }
        assert_eq!("s3://bucket/a/".parse::<StoreLocation>().unwrap().to_string(), "s3://bucket/a");
        assert!("here".parse::<StoreLocation>().unwrap().directory().unwrap().is_absolute());
        for bad in ["", "s3://", "s3:///a", "gs://bucket", "s3://bucket/../a", "s3://bucket/a//b", "s3://key:secret@b"]
        {
            assert!(bad.parse::<StoreLocation>().is_err(), "{bad}");
        }
    }
}
