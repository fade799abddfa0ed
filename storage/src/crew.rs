//! The threads whose work ends in commits: as long as one of them has something to do, another commit may come soon.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// Worker threads of a runtime, which tells when one of them runs out of work. That of no threads is idle.
#[derive(Debug, Default)]
pub struct Crew {
    workers: usize,
    parked: AtomicUsize,
    waiting: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Crew {
    /// A crew of so many workers, all of them at work.
    #[must_use]
    pub const fn new(workers: usize) -> Self {
        Self { workers, parked: AtomicUsize::new(0), waiting: AtomicBool::new(false), writer: OnceLock::new() }
    }

    /// Told by a worker that has nothing to do.
    pub fn parks(&self) {
        let parked = self.parked.fetch_add(1, Ordering::SeqCst) + 1;
        if parked >= self.workers
            && self.waiting.load(Ordering::SeqCst)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// Told by a worker that goes on.
    pub fn unparks(&self) {
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether none of them has anything to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.parked.load(Ordering::SeqCst) >= self.workers
    }

    /// Waits until none has anything to do, but no longer than `longest`. For one thread, always the same.
    pub(crate) fn wait_until_idle(&self, longest: Duration) {
        self.writer.get_or_init(std::thread::current);
        self.waiting.store(true, Ordering::SeqCst);
        if !self.is_idle() {
            std::thread::park_timeout(longest);
        }
        self.waiting.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_crew_is_idle_when_all_of_it_is() {
        assert!(Crew::default().is_idle(), "nobody");
        let crew = Crew::new(2);
        for (idle, tell) in [(false, Crew::parks as fn(&Crew)), (true, Crew::parks), (false, Crew::unparks)] {
            tell(&crew);
            assert_eq!(crew.is_idle(), idle);
        }
    }

    #[test]
    fn the_last_one_that_runs_out_of_work_ends_the_wait() {
        let crew = Arc::new(Crew::new(2));
        let began = Instant::now();
        let waits = Arc::clone(&crew);
        let waiter = std::thread::spawn(move || {
            while !waits.is_idle() {
                waits.wait_until_idle(LONG);
            }
            waits.wait_until_idle(LONG);
        });
        while !crew.waiting.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        crew.parks();
        crew.parks();
        waiter.join().unwrap();
        assert!(began.elapsed() < LONG);
    }
}
