//! Work beside requests: collecting garbage and orphans, reclaiming space, scrubbing, looking at
//! certificates and at the node's identity again. Each is paced, and stops with the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certs::identity::verify_node;
use metrics_exporter_prometheus::PrometheusHandle;
use storage::catalog::rocks::RocksCatalog;
use storage::collector::Collector;
use storage::condition::Condition;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock;
use crate::gateway::Gateway;
use crate::node;
use crate::serve::tell;
use crate::tls::Tls;

const ROUND: Duration = Duration::from_secs(2);
/// Steps of reclaiming per round: at most 8 chunks of 4 MiB each, so 64 MiB/s.
const RECLAIM_STEPS: usize = 4;
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
    /// Certificate of the node and of the CA.
    pub identity: [PathBuf; 2],
    /// Told when another start would mend what a full disk broke.
    pub again: Arc<Notify>,
    /// Samples of histograms wait there until somebody tidies up.
    pub metrics: PrometheusHandle,
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
            let [store, keys, identity, databases] = [stop.clone(), stop.clone(), stop.clone(), stop.clone()];
            let tls = self.tls.take();
            futures::join!(
                self.look_after_store(store),
                self.look_after_keys(keys),
                self.look_after_identity(identity),
                self.look_after_databases(databases),
                look_after_tls(tls, stop)
            );
        })
    }

    async fn look_after_keys(&self, mut stop: watch::Receiver<bool>) {
        while goes_on(&mut stop).await {
            self.gateway.keys.forget_expired();
            self.gateway.opened.forget_expired();
        }
    }

    /// A database that found no space takes no more writes (`docs/decisions/0004`): another start mends it, which
    /// is asked for when there is space.
    async fn look_after_databases(&self, mut stop: watch::Receiver<bool>) {
        while goes_on(&mut stop).await {
            let (catalog, chunks) = (Arc::clone(&self.catalog), Arc::clone(&self.gateway.chunks));
            let look = tokio::task::spawn_blocking(move || [catalog.condition(), chunks.condition()]);
            let Ok(conditions) = look.await else { continue };
            let ready = |condition| matches!(condition, Condition::Sound | Condition::Mendable);
            if conditions.contains(&Condition::Mendable) && conditions.into_iter().all(ready) {
                tracing::warn!("the disk was full and has space again: the server begins anew");
                return self.again.notify_one();
            }
        }
    }

    async fn look_after_store(&self, mut stop: watch::Receiver<bool>) {
        let gateway = &self.gateway;
        let collector = Collector::new(Arc::clone(&self.catalog), Arc::clone(&gateway.chunks), gateway.session);
        let mut scrubbed = None;
        while goes_on(&mut stop).await {
            self.metrics.run_upkeep();
            collect(&collector).await;
            reclaim(gateway).await;
            scrubbed = scrub(gateway, scrubbed).await;
        }
    }

    /// Verifies the node's identity again and again (SECURITY.md rule 23 allows 60 s): one that ended, was taken
    /// away or says something else is told to placement and store, and recorded.
    async fn look_after_identity(&self, mut stop: watch::Receiver<bool>) {
        while goes_on(&mut stop).await {
            let [node, ca] = self.identity.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || verify_node(&node, &ca)).await else { continue };
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
    tokio::select! {
        () = tokio::time::sleep(ROUND) => true,
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

async fn collect(collector: &Collector) {
    match collector.run_once().await {
        Ok(done) => {
            metrics::counter!("gotgan_collected_bodies_total", "kind" => "garbage")
                .increment(u64::try_from(done.garbage).unwrap_or(0));
            metrics::counter!("gotgan_collected_bodies_total", "kind" => "orphan")
                .increment(u64::try_from(done.orphans).unwrap_or(0));
        }
        Err(error) => tracing::warn!(%error, "collecting waits for the next round"),
    }
}

async fn reclaim(gateway: &Gateway) {
    for _ in 0..RECLAIM_STEPS {
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
