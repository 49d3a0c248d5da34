//! A thread for work that uses the processor for a while and never waits for a disk.
//!
//! Purpose: threads that wait for a disk are few, and all of them are blocked while it hangs. A
//! login and the metrics must not wait for them. In: work, from any task. Out: its result. Limits:
//! one thread, which exists as long as its [`Worker`]. The callers limit how much work waits.

use super::lock::Lock;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// The thread, and the channel to it.
pub struct Worker {
    name: &'static str,
    /// `None` while the thread could not be created.
    way: Lock<Option<Sender<Work>>>,
}

impl Worker {
    /// A worker of this name, which stacks and `ps` show. Its thread is created now and stays:
    /// later the limit of processes and threads may be reached.
    pub fn new(name: &'static str) -> Self {
        Self { name, way: Lock::leaf(begin(name).ok()) }
    }

    /// The result of the work, which is completed even if the caller does not wait any more;
    /// `None`: it panicked, or there is no thread for it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let work = move || {
            // The caller may not wait any more.
            let _ = tell.send(work());
        };
        self.give(Box::new(work)).ok()?;
        told.await.ok()
    }

    fn give(&self, work: Work) -> io::Result<()> {
        let mut way = self.way.lock();
        let sender = match way.take() {
            Some(sender) => sender,
            // It could not be created at the start.
            None => begin(self.name)?,
        };
        let sent = sender.send(work);
        *way = Some(sender);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The thread ends when the channel is closed.
fn begin(name: &str) -> io::Result<Sender<Work>> {
    let (sender, works) = channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || do_all(&works))?;
    Ok(sender)
}

fn do_all(works: &Receiver<Work>) {
    for work in works {
        // The panic hook has logged the defect, and the caller gets no result. The next work needs
        // this thread.
        let _ = catch_unwind(AssertUnwindSafe(work));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::runtime::Builder;

    /// As in the HTTP server, whose pages wait for a disk that hangs.
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

    #[tokio::test]
    async fn its_thread_is_there_before_the_first_work_and_ends_with_it() {
        let threads = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let name = |task: &std::fs::DirEntry| {
                std::fs::read_to_string(task.path().join("comm")).unwrap_or_default()
            };
            tasks.filter(|task| name(task.as_ref().unwrap()).trim_end() == "a worker").count()
        };
        let wait = async |wanted| {
            while threads() != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let worker = Worker::new("a worker");
        tokio::time::timeout(Duration::from_secs(10), wait(1))
            .await
            .expect("it begins without work");
        assert_eq!(worker.run(|| 1).await, Some(1));
        assert_eq!(threads(), 1);
        drop(worker);
        tokio::time::timeout(Duration::from_secs(10), wait(0)).await.expect("it ends");
    }
}
