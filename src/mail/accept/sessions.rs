//! How many sessions there are, in all and from each address.

use super::Limits;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open sessions. Its memory is bounded by the limit in all.
#[derive(Debug)]
pub struct Sessions {
    limit: usize,
    limit_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to one session; dropping it gives the place free.
#[derive(Debug)]
pub struct Ticket {
    sessions: Arc<Sessions>,
    address: IpAddr,
}

impl Sessions {
    /// No session yet.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { limit: limits.sessions, limit_per_address: limits.sessions_per_address, open: Mutex::default() })
    }

    /// A place for one more session.
    ///
    /// # Errors
    /// There is none; the text says why in the words of the 421.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Ticket, &'static str> {
        let address = household(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.limit {
            return Err("Too many sessions; try again later");
        }
        let from_there = open.by_address.get(&address).copied().unwrap_or(0);
        if from_there >= self.limit_per_address {
            return Err("Too many sessions from your address; try again later");
        }
        open.by_address.insert(address, from_there + 1);
        open.all += 1;
        Ok(Ticket { sessions: Arc::clone(self), address })
    }
}

/// Whoever has one IPv6 address has all of its /64 (RFC 4291 §2.5.4): they count as one.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.sessions.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_by_address_and_come_back() {
        let limits = Limits { sessions: 3, sessions_per_address: 2, ..Limits::default() };
        let sessions = Sessions::new(&limits);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = sessions.enter(a).unwrap();
        let _second = sessions.enter(a).unwrap();
        assert!(sessions.enter(a).unwrap_err().contains("your address"));
        let third = sessions.enter(b).unwrap();
        assert!(!sessions.enter(b).unwrap_err().contains("your address"));
        drop((first, third));
        assert!(!sessions.open.lock().unwrap().by_address.contains_key(&b), "an address without sessions is forgotten");
        sessions.enter(a).unwrap();
    }
}
