//! An object store, written to once an object.

use std::collections::BTreeMap;
use std::path::{Path as File, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};
use url::Url;

use super::KeepError;
use crate::fetch::ObjectHttp;
use crate::values::Digest;

/// For how long one request is tried again before the round ends; the next round begins where it ended.
const RETRY: Duration = Duration::from_secs(20);
/// Text and records halve; level 3 takes a tenth of the time that making the records took.
const LEVEL: i32 = 3;
/// The largest piece of a file, which is what a compressed object may be in full.
pub(super) const PIECE_MAX: usize = 32 << 20;

/// An object store and the place in it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    base: Path,
    url: String,
}

impl Store {
    /// Reads `s3://bucket/prefix`, `gs://…`, `az://container/prefix` or `file:///directory`. Credentials and endpoints come from the
    /// environment, as each provider names them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...), never from the configuration.
    ///
    /// # Errors
    /// When the URL is none of these, or the environment lacks something.
    pub fn connect(url: &str, extra_roots: &[PathBuf]) -> Result<Self, KeepError> {
        let wrong = |rule: String| KeepError::Url { url: url.to_owned(), rule };
        let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            return Err(wrong("it must not hold credentials; they come from the environment".to_owned()));
        }
        let http = || ObjectHttp::new(extra_roots).map_err(|error| wrong(error.to_string()));
        let retry = RetryConfig { retry_timeout: RETRY, ..RetryConfig::default() };
        let build = |error: object_store::Error| wrong(error.to_string());
        let mut base = Path::from_url_path(parsed.path()).map_err(|error| wrong(error.to_string()))?;
        let inner: Arc<dyn ObjectStore> = match parsed.scheme() {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_url(url).with_http_connector(http()?).with_retry(retry);
                Arc::new(builder.build().map_err(build)?)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_http_connector(http()?);
                Arc::new(builder.with_retry(retry).build().map_err(build)?)
            }
            "az" => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_http_connector(http()?);
                Arc::new(builder.with_retry(retry).build().map_err(build)?)
            }
            "file" => {
                let directory = parsed.to_file_path().map_err(|()| wrong("it is not a path of this machine".to_owned()))?;
                std::fs::create_dir_all(&directory).map_err(|error| wrong(error.to_string()))?;
                base = Path::default();
                // Removing what is here rests on what is there: it must be on the disk, not in its cache.
                Arc::new(LocalFileSystem::new_with_prefix(&directory).map_err(build)?.with_fsync(true))
            }
            other => return Err(wrong(format!("{other:?} is not one of s3, gs, az, file"))),
        };
        Ok(Self { inner, base, url: url.trim_end_matches('/').to_owned() })
    }

    /// A store that is there already.
    #[must_use]
    pub fn of(inner: Arc<dyn ObjectStore>) -> Self {
        let url = inner.to_string();
        Self { inner, base: Path::default(), url }
    }

    /// As the configuration names it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts an object that must not be there yet. That it is there with the same content is success. `.zst` objects are compressed.
    ///
    /// # Errors
    /// [`KeepError::Taken`] when it is there with another content.
    pub(crate) async fn create(&self, path: &str, content: Vec<u8>) -> Result<(), KeepError> {
        let digest = Digest::of(&content);
        let stored = match path.ends_with(".zst") {
            true => zstd::bulk::compress(&content, LEVEL).map_err(|error| self.damaged(path, error.to_string()))?,
            false => content,
        };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.inner.put_opts(&self.at(path), stored.into(), options).await {
            Ok(_) => Ok(()),
            // Ours, of a try whose answer was lost, or somebody else's.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let there = self.get(path).await?;
                let same = there.is_some_and(|there| Digest::of(&there) == digest);
                if same { Ok(()) } else { Err(KeepError::Taken { store: self.url.clone(), path: path.to_owned() }) }
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    /// As [`Self::create`], of a file.
    pub(crate) async fn create_from(&self, path: &str, file: &File) -> Result<(), KeepError> {
        let content = std::fs::read(file).map_err(KeepError::io(file))?;
        self.create(path, content).await
    }

    /// An object's content, decompressed; `None` when it is not there.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, KeepError> {
        let stored = match self.inner.get(&self.at(path)).await {
            Ok(found) => found.bytes().await.map_err(|source| self.failed(source))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.failed(source)),
        };
        if !path.ends_with(".zst") {
            return Ok(Some(stored.to_vec()));
        }
        zstd::bulk::decompress(&stored, PIECE_MAX).map(Some).map_err(|error| self.damaged(path, error.to_string()))
    }

    /// An object that has to be there.
    pub(crate) async fn must_get(&self, path: &str) -> Result<Vec<u8>, KeepError> {
        let found = self.get(path).await?;
        found.ok_or_else(|| self.damaged(path, "it is named by what is there, and is not there itself".to_owned()))
    }

    /// The objects below a place and their sizes, in order. The paths are whole.
    pub(crate) async fn list(&self, below: &str) -> Result<BTreeMap<String, u64>, KeepError> {
        let listed = self.inner.list(Some(&self.at(below)));
        let found = listed.map_ok(|meta| (self.relative(&meta.location), meta.size)).try_collect::<Vec<_>>().await;
        Ok(found.map_err(|source| self.failed(source))?.into_iter().filter_map(|(path, size)| Some((path?, size))).collect())
    }

    /// The names directly below a place that have something below them.
    pub(crate) async fn directories(&self, below: &str) -> Result<Vec<String>, KeepError> {
        let listed = self.inner.list_with_delimiter(Some(&self.at(below))).await.map_err(|source| self.failed(source))?;
        Ok(listed.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect())
    }

    /// Removes objects; says which could not be removed. A store that keeps what it has (Object Lock) may refuse.
    pub(crate) async fn remove(&self, paths: Vec<String>) -> Vec<KeepError> {
        let locations = futures_util::stream::iter(paths.iter().map(|path| Ok(self.at(path))).collect::<Vec<_>>()).boxed();
        let removed: Vec<_> = self.inner.delete_stream(locations).collect().await;
        let failed = removed.into_iter().filter_map(Result::err);
        failed
            .filter(|error| !matches!(error, object_store::Error::NotFound { .. }))
            .map(|source| self.failed(source))
            .collect()
    }

    pub(crate) fn damaged(&self, path: &str, what: String) -> KeepError {
        KeepError::Damaged { store: self.url.clone(), path: path.to_owned(), what }
    }

    fn failed(&self, source: object_store::Error) -> KeepError {
        KeepError::Store { store: self.url.clone(), source }
    }

    fn at(&self, path: &str) -> Path {
        path.split('/').filter(|part| !part.is_empty()).fold(self.base.clone(), |at, part| at.join(part))
    }

    fn relative(&self, location: &Path) -> Option<String> {
        let parts: Vec<String> = location.prefix_match(&self.base)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }
}
