//! Where requests come from, as far as bounds count it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an address counts under. One IPv6 network is one source: whoever has one address of it has them all.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// Connections of each source that are open.
#[derive(Debug)]
pub(crate) struct Sources {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    /// At most so many of each.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// Counts a connection in; none when its source has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let source = source_of(address);
        let mut open = self.open();
        let count = open.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted { sources: Arc::clone(self), source })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.sources.open();
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_source_has_so_many_and_gets_them_back() {
        let sources = Sources::new(2);
        let here = at("127.0.0.1");
        let held = [sources.admit(here), sources.admit(here)];
        assert!(held.iter().all(Option::is_some) && sources.admit(here).is_none());
        assert!(sources.admit(at("127.0.0.2")).is_some());
        drop(held);
        assert!(sources.open().is_empty(), "nothing is kept of who is gone");
        assert!(sources.admit(here).is_some());
    }

    #[test]
    fn a_network_is_one_source() {
        assert_eq!(source_of(at("2001:db8::1")), source_of(at("2001:db8::ffff:2")));
        assert_ne!(source_of(at("2001:db8::1")), source_of(at("2001:db8:0:1::1")));
        assert_eq!(source_of(at("::ffff:10.0.0.1")), at("10.0.0.1"));
        assert_ne!(source_of(at("10.0.0.2")), source_of(at("10.0.0.1")));
    }
}
