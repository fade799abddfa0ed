//! Work beside requests: wrapping envelopes anew, collecting garbage and orphans, reclaiming space, scrubbing, looking at
//! certificates and at the node's identity again. Each is paced, and stops with the server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use storage::catalog::rocks::RocksCatalog;
use storage::collector::Collector;
use storage::condition::Condition;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::anew::Brake;
use crate::clock;
use crate::destruction;
use crate::gateway::Gateway;
use crate::node::{self, Issued, OwnIdentity};
use crate::rotation;
use crate::serve::tell;
use crate::tls::Tls;

const ROUND: Duration = Duration::from_secs(2);
/// Of a disk that a compaction could fill, and empty again, in less than a round.
const ROUND_NEAR_FULL: Duration = Duration::from_millis(250);
/// Until what a provider or a disk did not do is tried again.
const ROUND_AFTER_FAILURE: Duration = Duration::from_secs(15);
/// Between two looks for tenant keys that are due: each looks at all of them.
const ROTATIONS: Duration = Duration::from_secs(15);
/// After an identity that could not be renewed.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// Between two tries to write what a broken database would have to.
const PROBE_AGAIN: Duration = Duration::from_secs(10);
/// Reclaiming per round, while the disk is not nearly full: a quarter of one disk's time.
const RECLAIM: Duration = Duration::from_millis(500);
/// Chunks scrubbed per round: 8 MiB/s at most.
const SCRUB: usize = 4;

/// What the jobs work on.
pub struct Jobs {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Its catalog, as the collector knows it.
    pub catalog: Arc<RocksCatalog>,
    /// The TLS certificate, when there is one.
    pub tls: Option<Tls>,
    /// This node's identity, to be renewed.
    pub identity: OwnIdentity,
    /// Told when another start would mend what a full disk broke.
    pub again: Arc<Again>,
    /// Samples of histograms wait there until somebody tidies up.
    pub metrics: PrometheusHandle,
}

/// Whether and when there is another start.
#[derive(Debug)]
pub struct Again {
    /// Told when it is time.
    pub now: Notify,
    brake: Mutex<Brake>,
}

impl Again {
    /// Of a process that took the place of another so many times.
    #[must_use]
    pub fn new(starts: u32) -> Self {
        Self { now: Notify::new(), brake: Mutex::new(Brake::new(starts)) }
    }

    /// What puts it off.
    pub fn brake(&self) -> MutexGuard<'_, Brake> {
        self.brake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs(..)")
    }
}

impl Jobs {
    /// Starts them; the task ends soon after `stop` says so.
    #[must_use]
    pub fn start(mut self, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
        let stop = stop.clone();
        tokio::spawn(async move {
            // Apart, so that no slow disk puts off the end of an identity or of a key.
            let [store, keys, rows, envelopes, destructions, identity, databases] =
                std::array::from_fn(|_| stop.clone());
            let tls = self.tls.take();
            futures::join!(
                self.look_after_store(store),
                self.look_after_keys(keys),
                self.look_at_control_rows(rows),
                self.gateway.rewrapper.run(&self.gateway, envelopes),
                self.look_after_destructions(destructions),
                self.look_after_identity(identity),
                self.look_after_databases(databases),
                look_after_tls(tls, stop)
            );
        })
    }

    /// A row that is hidden under another name is asked for by nobody: it is looked for, once.
    async fn look_at_control_rows(&self, mut stop: watch::Receiver<bool>) {
        let surveyed = tokio::select! {
            surveyed = self.gateway.control.survey() => surveyed,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match surveyed {
            Ok(0) => {}
            Ok(forged) => tracing::error!(forged, "control rows were changed while the server was down: not used"),
            Err(error) => tracing::error!(%error, "control rows cannot be read"),
        }
    }

    async fn look_after_keys(&self, mut stop: watch::Receiver<bool>) {
        while goes_on(&mut stop).await {
            self.gateway.keys.forget_expired();
            self.gateway.opened.forget_expired();
        }
    }

    /// What is due: destructions, and rotations by schedule.
    async fn look_after_destructions(&self, mut stop: watch::Receiver<bool>) {
        let (mut round, mut rotated_at) = (ROUND, None::<Instant>);
        while goes_on_after(round, &mut stop).await {
            let looked = destruction::job::look(&self.gateway, &self.identity.files).await;
            let looked = looked.inspect_err(|error| tracing::error!(%error, "destructions cannot be looked after"));
            let rotated = match rotated_at.is_none_or(|at| at.elapsed() >= ROTATIONS) {
                true => {
                    rotated_at = Some(Instant::now());
                    rotation::rotate_due(&self.gateway).await
                }
                false => Ok(true),
            };
            let rotated = rotated.inspect_err(|error| tracing::error!(%error, "tenant keys cannot be looked after"));
            round = if matches!((looked, rotated), (Ok(true), Ok(true))) { ROUND } else { ROUND_AFTER_FAILURE };
        }
    }

    /// A database that found no space takes no more writes (`docs/decisions/0004`): another start mends it, which
    /// is asked for when a file can be written beside each, and not soon after the start before.
    async fn look_after_databases(&self, mut stop: watch::Receiver<bool>) {
        let (mut round, mut told, mut probed) = (ROUND, false, None::<Instant>);
        while goes_on_after(round, &mut stop).await {
            let (catalog, chunks) = (Arc::clone(&self.catalog), Arc::clone(&self.gateway.chunks));
            let look = tokio::task::spawn_blocking(move || {
                ([catalog.condition(), chunks.condition()], catalog.is_near_full() || chunks.is_near_full())
            });
            let Ok((conditions, near_full)) = look.await else { continue };
            round = if near_full { ROUND_NEAR_FULL } else { ROUND };
            if conditions == [Condition::Sound; 2] {
                continue;
            }
            let left = {
                let mut brake = self.again.brake();
                brake.broken();
                brake.left()
            };
            if !conditions.contains(&Condition::Broken) && !told {
                tracing::error!(?left, "a database found no space: the server begins anew when there is some");
                told = true;
            }
            let ready = |condition| matches!(condition, Condition::Sound | Condition::Mendable);
            let due = left.is_zero() && probed.is_none_or(|at| at.elapsed() >= PROBE_AGAIN);
            if !due || !conditions.contains(&Condition::Mendable) || !conditions.into_iter().all(ready) {
                continue;
            }
            let (catalog, chunks) = (Arc::clone(&self.catalog), Arc::clone(&self.gateway.chunks));
            let probe = tokio::task::spawn_blocking(move || catalog.probe().and_then(|()| chunks.probe()));
            match probe.await {
                Ok(Ok(())) => {
                    tracing::warn!("the disk was full and has space again: the server begins anew");
                    return self.again.now.notify_one();
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "the disk says that it has space, but nothing can be written")
                }
                Err(error) => tracing::error!(%error, "it is not known whether the disk has space"),
            }
            probed = Some(Instant::now());
        }
    }

    async fn look_after_store(&self, mut stop: watch::Receiver<bool>) {
        let gateway = &self.gateway;
        let collector = Collector::new(Arc::clone(&self.catalog), Arc::clone(&gateway.chunks), gateway.session);
        let mut scrubbed = None;
        while goes_on(&mut stop).await {
            self.metrics.run_upkeep();
            collect(&collector, &stop).await;
            reclaim(gateway, &stop).await;
            scrubbed = scrub(gateway, scrubbed).await;
        }
    }

    /// Verifies the node's identity again and again (SECURITY.md rule 23 allows 60 s), and renews it in time: one that ended, was
    /// taken away or says something else is told to placement and store, and recorded.
    async fn look_after_identity(&self, mut stop: watch::Receiver<bool>) {
        let mut wait = None;
        while goes_on(&mut stop).await {
            let own = self.identity.clone();
            let may_renew = wait.is_none_or(|until| Instant::now() >= until);
            let looked = tokio::task::spawn_blocking(move || match may_renew {
                true => own.look(clock::now()),
                false => own.verify(clock::now()).map(Issued::known),
            });
            let Ok(Ok(Issued { identity: now, failed, .. })) = looked.await else { continue };
            if let Some(error) = failed {
                tracing::error!(%error, "the node's identity is not renewed yet");
                wait = Some(Instant::now() + RENEW_AGAIN);
            }
            if now == **self.gateway.identity.load() {
                continue;
            }
            let place = node::describe(&now);
            tracing::warn!(serial = now.serial, place, "the node's identity changed");
            self.gateway.chunks.stands(now.place.clone());
            let detail = format!("identity {}: {place}", now.serial);
            self.gateway.identity.store(Arc::new(now));
            if let Err(error) = tell(&self.gateway, "identity-changed", &detail).await {
                tracing::error!(%error, "the changed identity is not on record");
            }
        }
    }
}

async fn look_after_tls(mut tls: Option<Tls>, mut stop: watch::Receiver<bool>) {
    while let Some(mut served) = tls.take() {
        let looked = tokio::task::spawn_blocking(move || {
            served.look_after(clock::now());
            served
        });
        tls = looked
            .await
            .inspect_err(|error| tracing::error!(%error, "the TLS certificate is looked after no more"))
            .ok();
        if !goes_on(&mut stop).await {
            return;
        }
    }
}

/// Waits for the next round; false when there is none.
async fn goes_on(stop: &mut watch::Receiver<bool>) -> bool {
    goes_on_after(ROUND, stop).await
}

async fn goes_on_after(round: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(round) => true,
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// Until nothing is left, or for as long as a round: then the jobs behind it have their turn.
async fn collect(collector: &Collector, stop: &watch::Receiver<bool>) {
    let began = Instant::now();
    while began.elapsed() < ROUND && !*stop.borrow() {
        let done = match collector.run_once().await {
            Ok(done) => done,
            Err(error) => return tracing::warn!(%error, "collecting waits for the next round"),
        };
        metrics::counter!("gotgan_collected_bodies_total", "kind" => "garbage")
            .increment(u64::try_from(done.garbage).unwrap_or(0));
        metrics::counter!("gotgan_collected_bodies_total", "kind" => "orphan")
            .increment(u64::try_from(done.orphans).unwrap_or(0));
        if !done.more {
            return;
        }
    }
}

async fn reclaim(gateway: &Gateway, stop: &watch::Receiver<bool>) {
    let began = Instant::now();
    let longest = if gateway.chunks.is_near_full() { ROUND } else { RECLAIM };
    while began.elapsed() < longest && !*stop.borrow() {
        match gateway.chunks.reclaim_once().await {
            Ok(done) if done.chunks == 0 => return,
            Ok(done) => metrics::counter!("gotgan_reclaimed_chunks_total").increment(done.chunks),
            Err(error) => return tracing::warn!(%error, "reclaiming waits for the next round"),
        }
    }
}

async fn scrub(gateway: &Gateway, after: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match gateway.chunks.scrub(after, SCRUB).await {
        Ok(page) => {
            metrics::counter!("gotgan_scrubbed_bytes_total").increment(page.bytes);
            page.next
        }
        Err(error) => {
            tracing::warn!(%error, "scrubbing begins again");
            None
        }
    }
}
