//! Looks after the writer, which may hang in a call to a disk that does not answer: nothing in this process can end that call, but those
//! who wait for it can be told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

use super::log::Shared;

/// How often the writer is looked at while it is given so much time.
const LOOKS: u32 = 4;

/// The thread's handle, which the writer holds.
pub(crate) struct Watch {
    thread: Thread,
    done: Arc<AtomicBool>,
}

impl Watch {
    /// Gives up waiting rows when no batch was done with for about `patience`.
    pub(crate) fn start(shared: &Arc<Shared>, patience: Duration) -> std::io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let (shared, ending) = (Arc::downgrade(shared), Arc::clone(&done));
        let work = move || watch(&shared, patience / LOOKS, &ending);
        let thread = std::thread::Builder::new().name("evidence-watch".to_owned()).spawn(work)?;
        Ok(Self { thread: thread.thread().clone(), done })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn watch(shared: &Weak<Shared>, tick: Duration, done: &AtomicBool) {
    let (mut seen, mut looks) = (None, 0);
    loop {
        std::thread::park_timeout(tick);
        let Some(shared) = shared.upgrade().filter(|_| !done.load(Ordering::Acquire)) else { return };
        let now = shared.queue.progress();
        looks = if now.is_some() && now == seen { looks + 1 } else { 0 };
        seen = now;
        if looks >= LOOKS {
            if !shared.queue.is_stalled() {
                tracing::error!(log = %shared.name(), "the disk does not answer: evidence is refused until it does");
            }
            shared.queue.stall();
        }
    }
}
