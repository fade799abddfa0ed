//! Memory for keys: pages that reach neither swap nor a core file (SECURITY.md rule 10), cut into slots.
//!
//! Pages are never given back: as many keys as were held at once stay provided for, 32 bytes each.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

type Bytes = [u8; 32];
/// Bytes of one mapping: room for 512 keys.
const MAPPING: usize = 16 << 10;

static FREE: Mutex<Vec<Slot>> = Mutex::new(Vec::new());

/// A slot that nobody uses: all zero.
struct Slot(NonNull<Bytes>);

#[expect(unsafe_code, reason = "memory that swap does not see has to be had from the system")]
// SAFETY: the bytes belong to whoever holds the slot, like those of a `Box`.
unsafe impl Send for Slot {}

/// 32 secret bytes; wiped on drop.
pub(super) struct Locked(NonNull<Bytes>);

#[expect(unsafe_code, reason = "as for a slot")]
// SAFETY: it owns its bytes alone, like a `Box`; they change in `new` and `drop` only.
unsafe impl Send for Locked {}
#[expect(unsafe_code, reason = "as for a slot")]
// SAFETY: shared, it can only be read.
unsafe impl Sync for Locked {}

impl Locked {
    pub fn new(bytes: &Bytes) -> Self {
        let Slot(mut place) = take();
        #[expect(unsafe_code, reason = "fills a slot")]
        // SAFETY: the slot was free, so nothing else refers to its bytes.
        unsafe {
            *place.as_mut() = *bytes;
        }
        Self(place)
    }
}

impl Deref for Locked {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        #[expect(unsafe_code, reason = "reads a slot")]
        // SAFETY: the bytes are mapped for good, initialised, and change only while nobody refers to them.
        unsafe {
            self.0.as_ref()
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "wipes a slot")]
        // SAFETY: this is the last reference to the bytes.
        unsafe {
            self.0.as_mut().zeroize();
        }
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(Slot(self.0));
    }
}

fn take() -> Slot {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(slot) = free.pop() {
            return slot;
        }
        let (slots, _) = mapping().as_chunks_mut::<32>();
        free.extend(slots.iter_mut().map(|slot| Slot(NonNull::from(slot))));
    }
}

/// Fresh zeros. Where the system locks no more memory they are ordinary ones: keys must be had.
fn mapping() -> &'static mut [u8] {
    match locked_mapping() {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(%error, "keys may be swapped out: allow more locked memory (ulimit -l)");
            vec![0; MAPPING].leak()
        }
    }
}

fn locked_mapping() -> rustix::io::Result<&'static mut [u8]> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    #[expect(unsafe_code, reason = "the system's calls about memory")]
    // SAFETY: the mapping is new, private and never unmapped; what fails leaves it as it was, unused.
    unsafe {
        let start = rustix::mm::mmap_anonymous(std::ptr::null_mut(), MAPPING, protection, MapFlags::PRIVATE)?;
        rustix::mm::madvise(start, MAPPING, Advice::LinuxDontDump)?;
        rustix::mm::mlock(start, MAPPING)?;
        Ok(std::slice::from_raw_parts_mut(start.cast::<u8>(), MAPPING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping that an address lies in, as the kernel tells them.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|r| r.split_once('-'));
            let range =
                range.and_then(|(a, b)| Some(usize::from_str_radix(a, 16).ok()?..usize::from_str_radix(b, 16).ok()?));
            if let Some(range) = range {
                inside = range.contains(&address);
            }
            if let (true, Some(flags)) = (inside, line.strip_prefix("VmFlags:")) {
                return format!("{flags} ");
            }
        }
        panic!("{address:x} is not mapped");
    }

    #[test]
    fn keys_reach_neither_swap_nor_core_files() {
        let key = super::super::SecretKey::random().unwrap();
        let flags = flags(key.expose().as_ptr().addr());
        assert!(flags.contains(" lo ") && flags.contains(" dd "), "{flags}");
    }

    #[test]
    fn slots_are_used_again_and_come_back_wiped() {
        let keys: Vec<Locked> = (0..2000_u32).map(|n| Locked::new(&[n.to_be_bytes()[3] | 1; 32])).collect();
        assert!((0..2000_u32).zip(&keys).all(|(n, key)| **key == [n.to_be_bytes()[3] | 1; 32]));
        let places: std::collections::HashSet<usize> = keys.iter().map(|key| key.as_ptr().addr()).collect();
        assert_eq!(places.len(), 2000, "no two share a place");
        drop(keys);
        let free: Vec<Locked> = (0..1000).map(|_| Locked(take().0)).collect();
        assert!(free.iter().all(|slot| **slot == [0; 32]));
        assert!(free.iter().any(|slot| places.contains(&slot.as_ptr().addr())));
    }
}
