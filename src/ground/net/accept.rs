//! The loop that accepts connections from a listening socket, and the tasks that serve them.
//!
//! In: a listening socket, a [`Service`], and a signal to stop. Out: a task for each connection.
//! Limits: those of the service, which may give a connection no task. While there is no file
//! descriptor or no memory for another connection, accepting is retried every [`BACK_OFF`].
//! Security: a panic costs one connection, in its task or before it has one, and is reported to the
//! service.

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

/// The pause after a failed accept for lack of file descriptors or memory: there is no notification
/// when they are available again, and retrying at once would use up the processor.
const BACK_OFF: Duration = Duration::from_millis(200);

/// A listening socket of any kind.
pub trait Accept: Send + Sync {
    /// The type of its connections.
    type Connection: Send;

    /// Waits for the next connection. It can be cancelled in a `select!` without loss.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    async fn accept(&self) -> io::Result<Self::Connection> {
        Self::accept(self).await
    }
}

impl Accept for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<Self::Connection> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves connections, and gets the errors.
pub trait Service<C>: Sync {
    /// The task that serves a new connection; `None`: it got no slot, and is closed.
    fn connected(&self, connection: C) -> Option<impl Future<Output = ()> + Send + 'static>;

    /// No connection can be accepted at present.
    fn cannot_accept(&self, error: &io::Error);

    /// A connection was lost to a panic with this message.
    fn panicked(&self, message: &str);
}

/// Serves every connection until `stop`, which gives the deadline for the remaining tasks.
pub async fn accept_loop<L: Accept>(
    listener: L,
    service: &impl Service<L::Connection>,
    stop: impl Future<Output = Instant>,
) {
    let mut tasks = JoinSet::new();
    let mut stop = pin!(stop);
    let until = loop {
        tokio::select! {
            until = &mut stop => break until,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => account(service, ended),
            accepted = listener.accept() => match accepted {
                Ok(connection) => {
                    if let Some(task) = connect(service, connection) {
                        tasks.spawn(task);
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    shielded(|| service.cannot_accept(&error));
                    sleep(BACK_OFF).await;
                }
            },
        }
    };
    drop(listener);
    while let Ok(Some(ended)) = timeout_at(until, tasks.join_next()).await {
        account(service, ended);
    }
    tasks.shutdown().await;
}

/// The task for a connection. A panic of the service costs this connection: it must not end the
/// loop, and with it all sessions of the listener.
fn connect<C>(
    service: &impl Service<C>,
    connection: C,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    // The service must expect panics anyway: its tasks share the same state.
    catch_unwind(AssertUnwindSafe(|| service.connected(connection))).unwrap_or_else(|panic| {
        shielded(|| service.panicked(message(&*panic)));
        None
    })
}

fn account<C>(service: &impl Service<C>, ended: Result<(), JoinError>) {
    report_panic(ended, |message| shielded(|| service.panicked(message)));
}

/// A panic of a report costs the report, and not the loop; the panic hook has logged it.
fn shielded(report: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(report));
}

/// Calls `report` with the message of the panic that ended a task, if one did.
pub fn report_panic(ended: Result<(), JoinError>, report: impl FnOnce(&str)) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        report(message(&*panic));
    }
}

/// The message of a panic; those of `panic!` are one of these two types.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The connection was lost before it was accepted; the listener itself works.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::lock::Lock;
    use std::collections::VecDeque;
    use std::future::pending;

    /// A listener with prepared results.
    struct Script(Lock<VecDeque<io::Result<&'static str>>>);

    impl Accept for Script {
        type Connection = &'static str;

        async fn accept(&self) -> io::Result<&'static str> {
            let next = self.0.lock().pop_front();
            match next {
                Some(next) => next,
                None => pending().await,
            }
        }
    }

    /// Records what is reported to it.
    #[derive(Default)]
    struct Notes(Lock<Vec<String>>);

    impl Service<&'static str> for Notes {
        fn connected(
            &self,
            connection: &'static str,
        ) -> Option<impl Future<Output = ()> + Send + 'static> {
            self.0.lock().push(connection.to_owned());
            if connection == "panics at once" {
                quiet_panic("no task");
            }
            (connection != "refused").then_some(async move {
                if connection == "panics" {
                    quiet_panic("in the task");
                }
                if connection == "stays" {
                    pending::<()>().await;
                }
            })
        }

        fn cannot_accept(&self, error: &io::Error) {
            self.0.lock().push(error.kind().to_string());
            quiet_panic("in the report of an error");
        }

        fn panicked(&self, message: &str) {
            self.0.lock().push(message.to_owned());
            quiet_panic("in the report of a panic");
        }
    }

    /// Without the panic hook, whose backtrace would take longer than the test has.
    fn quiet_panic(message: &'static str) -> ! {
        std::panic::resume_unwind(Box::new(message))
    }

    #[tokio::test]
    async fn errors_and_panics_cost_no_other_connection_and_a_stop_ends_what_stays() {
        let script = [
            Ok("first"),
            Err(io::ErrorKind::ConnectionReset.into()),
            Err(io::ErrorKind::OutOfMemory.into()),
            Ok("refused"),
            Ok("panics at once"),
            Ok("panics"),
            Ok("stays"),
        ];
        let (listener, notes) = (Script(Lock::leaf(script.into())), Notes::default());
        let start = Instant::now();
        let stop = async {
            sleep(2 * BACK_OFF).await;
            Instant::now() + BACK_OFF
        };
        accept_loop(listener, &notes, stop).await;
        let noted = [
            "first",
            "out of memory",
            "refused",
            "panics at once",
            "no task",
            "panics",
            "stays",
            "in the task",
        ];
        assert_eq!(*notes.0.lock(), noted);
        assert!(start.elapsed() >= 3 * BACK_OFF, "what was under way had its time");
    }
}
