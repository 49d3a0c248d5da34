//! A thread for work that takes a processor for a while and waits for no disk.
//!
//! Purpose: threads that wait for a disk are few, and all of them wait while it hangs. A login and the numbers for a monitor must
//! not stand behind them.
//! In: work, from any task. Out: what it gives.
//! Limits: one thread, which is there while there is work and a few seconds longer. Whoever gives it work bounds how much waits.

use tokio::runtime::{Builder, Runtime};

/// The thread, of a runtime that nothing else runs on.
pub struct Worker(Option<Runtime>);

impl Worker {
    /// One of this name, which stacks and `ps` show. The thread begins with the first work.
    pub fn new(name: &str) -> Self {
        // Without timers and sockets it needs nothing of the kernel.
        Self(Builder::new_current_thread().max_blocking_threads(1).thread_name(name).build().ok())
    }

    /// What the work gives, which is done whether or not anybody waits; `None`: it met a defect.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.0.as_ref()?.handle().spawn_blocking(work).await.ok()
    }
}

impl Drop for Worker {
    /// Waits for nothing: it may be dropped where nobody may wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// As in the windows, whose pages wait for a disk that hangs.
    #[test]
    fn it_works_while_all_threads_for_the_disk_wait() {
        let pages = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (go, goes) = channel::<()>();
        let page = pages.spawn_blocking(move || goes.recv());
        pages.block_on(async {
            let worker = Worker::new("numbers");
            assert_eq!(worker.run(|| 6 * 7).await, Some(42));
            assert_eq!(worker.run(|| panic!("a defect")).await, None::<()>);
            let name = worker.run(|| std::thread::current().name().map(str::to_owned)).await;
            assert_eq!(name, Some(Some("numbers".to_owned())));
            drop(go);
            page.await.unwrap().unwrap_err();
        });
    }
}
