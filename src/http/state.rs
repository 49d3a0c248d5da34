//! The server's state, independent of its handlers: access rules, and what it remembers about
//! clients. It knows no handler.

use crate::ground::credential::throttle::LoginThrottle;
use crate::http::access::Access;
use crate::http::counters::HttpCounters;
use crate::http::origin::FormToken;
use crate::http::searches::Searches;
use std::sync::Arc;

/// The state shared by all handlers, of which the server needs one part.
pub trait Application: Send + Sync + 'static {
    /// The server's part.
    fn http(&self) -> &HttpState;
}

/// The server's state.
pub struct HttpState {
    pub(crate) access: Access,
    pub(crate) counters: Arc<HttpCounters>,
    /// Octets of unread answers at `ui_port`, at most.
    pub(crate) answers_max: usize,
    pub(crate) throttle: LoginThrottle,
    pub(crate) searches: Searches,
    pub(crate) form_token: FormToken,
    #[cfg(debug_assertions)]
    faults: std::sync::OnceLock<Faults>,
}

/// Causes a fault of this name, for tests of the watchdog; `false` = there is none of that name.
#[cfg(debug_assertions)]
pub type Faults = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl HttpState {
    /// A new state. `answers_max` is the limit of unread answers, in octets.
    pub fn new(access: Access, counters: Arc<HttpCounters>, answers_max: usize) -> Self {
        Self {
            access,
            counters,
            answers_max,
            throttle: LoginThrottle::default(),
            searches: Searches::default(),
            form_token: FormToken::new(),
            #[cfg(debug_assertions)]
            faults: std::sync::OnceLock::new(),
        }
    }

    /// Counts a request that was rejected to protect others.
    pub(crate) fn refused(&self, reason: &str) {
        self.counters.http_refused_total.with_label_values(&[reason]).inc();
    }

    /// From now on faults can be caused through the control socket.
    #[cfg(debug_assertions)]
    pub fn allow_faults(&self, faults: Faults) {
        let _ = self.faults.set(faults);
    }

    /// Causes a fault.
    #[cfg(debug_assertions)]
    pub(crate) fn plant(&self, fault: &str) -> bool {
        self.faults.get().is_some_and(|faults| faults(fault))
    }
}
