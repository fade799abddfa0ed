//! A durable body that no row of the catalog references yet. Whoever wrote it holds its claim: the commit
//! settles it, and a claim that is dropped for whatever reason gives the body to the collector.

use std::sync::{Arc, PoisonError};

use policy::id::BodyId;
use tokio::sync::mpsc;

use super::Shared;
use super::committer::Rows;
use super::syncer::Job;

/// Bodies that may wait for the collector by name; those beyond wait for the next session.
const GIVEN_UP_MAX: usize = 100_000;

/// The right to commit one body.
#[derive(Debug)]
#[must_use = "a claim that is dropped gives its body up"]
pub struct Claim {
    shared: Arc<Shared>,
    queue: mpsc::WeakSender<Job>,
    body: BodyId,
    settled: bool,
}

impl Claim {
    pub(super) const fn new(shared: Arc<Shared>, queue: mpsc::WeakSender<Job>, body: BodyId) -> Self {
        Self { shared, queue, body, settled: false }
    }

    /// The body is referenced by a durable commit. A note that is lost is made again by the collector.
    pub fn settle(mut self) {
        self.settled = true;
        let note = Job::Rows(Rows::Settle { session: self.shared.session, body: self.body });
        if self.queue.upgrade().is_none_or(|queue| queue.try_send(note).is_err()) {
            self.shared.give_up(self.body);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.settled {
            self.shared.give_up(self.body);
        }
    }
}

impl Shared {
    /// The collector asks the catalog whether the body is referenced after all.
    fn give_up(&self, body: BodyId) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if given_up.len() < GIVEN_UP_MAX {
            given_up.push(body);
        }
    }

    /// Takes some of the bodies that were given up.
    pub(super) fn take_given_up(&self, limit: usize) -> Vec<BodyId> {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let from = given_up.len().saturating_sub(limit);
        given_up.split_off(from)
    }

    /// Those that could not be dealt with wait for the next round.
    pub(super) fn give_up_again(&self, bodies: &[BodyId]) {
        for body in bodies {
            self.give_up(*body);
        }
    }
}
