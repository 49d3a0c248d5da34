//! A replacement for tokio in `#[tokio::test(crate = "crate::with_threads")]`: such tests have the
//! number of threads that the run asks for.

pub use tokio::pin;

/// Like the module of tokio.
pub mod runtime {
    /// Like the one of tokio.
    pub struct Builder;

    impl Builder {
        /// A runtime of the current thread, unless the run asks for more.
        #[allow(
            clippy::new_ret_no_self,
            reason = "the builder of tokio, with the number of threads set"
        )]
        pub fn new_current_thread() -> tokio::runtime::Builder {
            let threads = crate::threads::asked_for().unwrap_or(1);
            let mut builder = match threads {
                0 | 1 => tokio::runtime::Builder::new_current_thread(),
                _ => tokio::runtime::Builder::new_multi_thread(),
            };
            builder.worker_threads(threads.max(1)).thread_name(crate::threads::NAME);
            builder
        }
    }
}
