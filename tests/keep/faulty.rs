//! A store that fails where it is told to.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to one put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It is not done, and an error says so.
    Refuse,
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// An error says that it is not done, and it arrives later.
    Late,
}

/// A store in memory that fails once.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: InMemory,
    fault: Fault,
    at: usize,
    puts: AtomicUsize,
    late: Mutex<Option<(Path, PutPayload, PutOptions)>>,
}

impl Faulty {
    /// Fails at this put, counted from 0.
    pub(super) fn new(fault: Fault, at: usize) -> Self {
        Self { inner: InMemory::new(), fault, at, puts: AtomicUsize::new(0), late: Mutex::default() }
    }

    pub(super) async fn deliver_late(&self) {
        let late = self.late.lock().unwrap().take();
        if let Some((path, payload, options)) = late {
            let _ = self.inner.put_opts(&path, payload, options).await;
        }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn error() -> Error {
    Error::Generic { store: "faulty", source: "500 Internal Server Error".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.puts.fetch_add(1, Ordering::Relaxed) != self.at {
            return self.inner.put_opts(location, payload, options).await;
        }
        match self.fault {
            Fault::Refuse => {}
            Fault::LoseAnswer => drop(self.inner.put_opts(location, payload, options).await?),
            Fault::Late => *self.late.lock().unwrap() = Some((location.clone(), payload, options)),
        }
        Err(error())
    }
    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(error())
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(error())
    }
}

/// All objects.
pub(super) async fn paths(store: &InMemory) -> Vec<Path> {
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.location).collect()
}

/// Changes an object in place, as nobody should. Says what it was.
pub(super) async fn exchange(store: &InMemory, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let before = store.get(path).await.unwrap().bytes().await.unwrap().to_vec();
    let mut changed = before.clone();
    change(&mut changed);
    store.put(path, changed.into()).await.unwrap();
    before
}
