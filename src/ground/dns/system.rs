//! The resolver of this machine: `/etc/hosts`, then the name servers of `/etc/resolv.conf` or the
//! configured ones.

use super::lookup::parse;
use super::setup::{Paths, Setup, SetupError};
use super::{
    DnsError, DnsFuture, QUESTIONS_MAX, Resolver, SLOW_QUESTION, SLOW_QUESTIONS_MAX, TOTAL_TIME,
};
use crate::ground::lock::Lock;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A resolver that uses `servers`, or those of `/etc/resolv.conf` if the list is empty. The files
/// `/etc/hosts` and `/etc/resolv.conf` are read again when they change, because container engines
/// rewrite them at run time.
///
/// Without any name server in `/etc/resolv.conf` the one on 127.0.0.1 is used, by resolv.conf(5).
/// Search domains are tried only for names without a dot, after the name itself: a mail domain is
/// always absolute.
///
/// # Errors
/// Hickory refuses the configuration.
pub fn system(servers: &[SocketAddr]) -> Result<Arc<dyn Resolver>, SetupError> {
    let paths = Paths { hosts: HOSTS.into(), resolv_conf: RESOLV_CONF.into() };
    Ok(Arc::new(System::new(servers, paths, TOTAL_TIME)?))
}

struct System {
    servers: Vec<SocketAddr>,
    paths: Paths,
    total_time: Duration,
    /// The setup from the files, and their modification times at that moment.
    current: Lock<([Option<SystemTime>; 2], Arc<Setup>)>,
    turns: Semaphore,
    slow_turns: Semaphore,
}

impl System {
    fn new(servers: &[SocketAddr], paths: Paths, total_time: Duration) -> Result<Self, SetupError> {
        let changed = paths.changed();
        let setup = Arc::new(Setup::read(servers, &paths)?);
        let (turns, slow_turns) =
            (Semaphore::new(QUESTIONS_MAX), Semaphore::new(SLOW_QUESTIONS_MAX));
        Ok(Self {
            servers: servers.to_vec(),
            paths,
            total_time,
            current: Lock::leaf((changed, setup)),
            turns,
            slow_turns,
        })
    }

    /// The setup, made again when one of the files has changed. Two `stat` calls for each query are
    /// cheaper than a watcher, and work on the overlay and bind mounts of containers.
    fn setup(&self) -> Arc<Setup> {
        let changed = self.paths.changed();
        let mut current = self.current.lock();
        if current.0 != changed {
            current.0 = changed;
            match Setup::read(&self.servers, &self.paths) {
                Ok(setup) => current.1 = Arc::new(setup),
                Err(error) => {
                    tracing::warn!(%error, "the changed resolver configuration was ignored")
                }
            }
        }
        current.1.clone()
    }

    /// Waits for a slot and for the answer, both within the total time.
    async fn limited<T>(
        &self,
        name: &str,
        question: impl Future<Output = Result<T, DnsError>>,
    ) -> Result<T, DnsError> {
        let turn = async {
            let turn = self
                .turns
                .acquire()
                .await
                .map_err(|closed| DnsError::Failed(closed.to_string()))?;
            let mut question = std::pin::pin!(question);
            if let Ok(answer) = timeout(SLOW_QUESTION, &mut question).await {
                return answer;
            }
            let _slow_turn = self.slow_turns.try_acquire().map_err(|_| {
                let text = format!(
                    "no name server answered for {name} within {SLOW_QUESTION:?}, and too \
                    many other questions wait"
                );
                DnsError::Failed(text)
            })?;
            drop(turn);
            question.await
        };
        match timeout(self.total_time, turn).await {
            Ok(answer) => answer,
            Err(_) => Err(DnsError::Failed(format!(
                "no name server answered for {name} within {:?}",
                self.total_time
            ))),
        }
    }
}

impl Resolver for System {
    fn mx(&self, name: &str) -> DnsFuture<'_, Vec<(u16, String)>> {
        let name = name.to_owned();
        Box::pin(async move {
            let asked = parse(&name)?;
            let setup = self.setup();
            self.limited(&name, setup.mx(asked)).await
        })
    }

    fn addresses(&self, name: &str) -> DnsFuture<'_, Vec<IpAddr>> {
        let name = name.to_owned();
        Box::pin(async move {
            let asked = parse(&name)?;
            let setup = self.setup();
            match setup.hosts_file(&asked) {
                listed if !listed.is_empty() => Ok(listed),
                _ => self.limited(&name, setup.addresses(&asked)).await,
            }
        })
    }

    fn texts(&self, name: &str) -> DnsFuture<'_, Vec<String>> {
        let name = name.to_owned();
        Box::pin(async move {
            let asked = parse(&name)?;
            let setup = self.setup();
            self.limited(&name, setup.texts(asked)).await
        })
    }

    fn host_names(&self, address: IpAddr) -> DnsFuture<'_, Vec<String>> {
        Box::pin(async move {
            let setup = self.setup();
            self.limited(&address.to_string(), setup.host_names(address)).await
        })
    }

    fn forget(&self, name: &str) {
        if let Ok(name) = parse(name) {
            self.setup().forget(&name);
        }
    }

    fn forget_all(&self) {
        let setup = self.setup();
        setup.resolver.clear_cache();
        setup.local.clear_cache();
    }
}

#[cfg(test)]
mod tests;
