//! One run of the server: opens everything in order, serves, and closes everything in reverse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use certs::files::CertError;
use certs::identity::NodeIdentity;
use futures::FutureExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use policy::id::{SessionId, StoreId};
use policy::time::UtcMillis;
use storage::buffer::BufferPool;
use storage::catalog::rocks::{CatalogOptions, RocksCatalog};
use storage::catalog::{Catalog, CatalogError, ControlKind};
use storage::chunks::{ChunkStore, FILE_BYTES, StoreOptions};
use storage::crew::Crew;
use storage::engine::Engine;
use storage::error::StoreError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::accept::{ConnectionLimits, Listener};
use crate::admin::{Admin, Routes};
use crate::anew::Handover;
use crate::authorities::Authorities;
use crate::bootstrap::{self, Bootstrap, BootstrapError, FirstSecret};
use crate::clock;
use crate::config::{Config, ConfigError, Limits, some};
use crate::control::ControlState;
use crate::digest::md5::Md5Engine;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::home::{Home, HomeError};
use crate::identity::Identities;
use crate::jobs::{Again, Jobs};
use crate::keys::KeyRing;
use crate::node::{self, Issued, NodeError, OwnIdentity};
use crate::opened::OpenedVersions;
use crate::platform::{self, PlatformKey};
use crate::provider::KeyProvider;
use crate::provider::hyok::Directory;
use crate::provider::openbao::OpenBao;
use crate::provider::pkcs11::Token;
use crate::record::{Content, Control, Recorder};
use crate::rewrap::Rewrapper;
use crate::root::{self, RootError, RootInUse, RootKey};
use crate::s3::host::Domains;
use crate::seal::key::random;
use crate::stack::Stack;
use crate::tls::Tls;

/// Whole chunks that may be in flight in each direction.
const CHUNKS_IN_FLIGHT: u32 = 16;
/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// How long closing records may take after the last request.
const RECORDS_TIME: Duration = Duration::from_secs(10);
/// What is in memory is written within this when the server stops.
const CLOSE_TIME: Duration = Duration::from_secs(60);

/// The server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory or root key.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's identity.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A certificate.
    #[error(transparent)]
    Cert(#[from] CertError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The chunk store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first accounts.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A record or key.
    #[error(transparent)]
    Gateway(#[from] Error),
    /// An address.
    #[error("{address}: {source}")]
    Listen {
        /// As configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Plain HTTP beyond loopback.
    #[error(
        "{0} is not a loopback address and --danger-plain-http is not given: plain HTTP would show secrets and data to the network; set tls.names (own CA) or tls.certificate and tls.key"
    )]
    Plain(SocketAddr),
    /// A database takes no more writes.
    #[error(
        "a database takes no more writes, and nothing was closed: what was acknowledged is there at the next start"
    )]
    Broken,
    /// Metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The system.
    #[error("{what}: {source}")]
    System {
        /// What was done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// As it was told to.
    Stopped,
    /// A full disk broke a database, and there is space again: this process shall end, and another begin. Nothing was
    /// closed, as a database that waits for itself would not: whoever opens it next finds what a kill leaves.
    Again(Handover),
}

/// A server that is ready to run.
pub struct Server {
    home: Home,
    catalog: Arc<RocksCatalog>,
    gateway: Arc<Gateway>,
    stack: Arc<Stack>,
    admin: Arc<Admin>,
    listeners: [Listener; 2],
    tls: Option<Tls>,
    own: OwnIdentity,
    metrics: PrometheusHandle,
    again: Arc<Again>,
    /// What the first person needs; only at the first start.
    pub first: Option<Bootstrap>,
    /// URL of the S3 interface.
    pub s3: String,
    /// URL of the admin API.
    pub admin_url: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("s3", &self.s3).field("admin", &self.admin_url).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens everything, with another secret for the first administrator if that is wanted. The root key is checked
    /// first, so a wrong one changes nothing. What the process before handed over is put on record.
    ///
    /// # Errors
    /// [`ServeError`] says what is wrong.
    pub async fn open(
        config: &Config,
        replace_administrator_secret: bool,
        handed: &Handover,
        crew: &Arc<Crew>,
    ) -> Result<Self, ServeError> {
        harden();
        let now = clock::now();
        // Before anything is made: an address that may not or cannot be had leaves no trace on disk.
        let sockets = [bind(config, &config.listen.s3).await?, bind(config, &config.listen.admin).await?];
        let home = Home::open(config, now)?;
        let (own, issued) = identity_of(&home, config, now)?;
        let certificate = Tls::open(&config.tls, &home, own.authorities(), now)?;
        let tls = certificate.as_ref().map(Tls::listens).transpose()?;
        let (limits, patience) = bounds(&config.limits);
        let [s3, admin] = sockets.map(|socket| Listener { socket, tls: tls.clone(), limits });
        let [s3_url, admin_url] = [url(&s3)?, url(&admin)?];
        let place = node::describe(&issued.identity);
        let session = SessionId::time_ordered(now.0, random().map_err(Error::from)?);
        let engine = Engine::new();
        let options = CatalogOptions { engine: engine.clone(), session, now, crew: Arc::clone(crew) };
        let catalog = RocksCatalog::open(&home.meta(), &options)?;
        let pool = BufferPool::new(CHUNKS_IN_FLIGHT);
        let options = store_options(engine, &pool, session, &issued.identity)?;
        let chunks = ChunkStore::open(&home.store(), &options)?;
        let shared: Arc<dyn Catalog> = Arc::<RocksCatalog>::clone(&catalog);
        let (control, keys) = state_of(&home, &shared, config).await?;
        let gateway = Arc::new(Gateway {
            chunks,
            reads: catalog.reads(),
            identities: Arc::new(Identities::new(Arc::clone(&control), Arc::clone(&keys))),
            recorder: Arc::new(Recorder::new(Arc::clone(&shared), Arc::clone(&keys), session, patience)),
            control,
            keys,
            installation: home.descriptor.installation.clone(),
            trial_destruction: config.danger.trial_destruction,
            root_inside_data: config.danger.root_key_inside_data,
            root_place: home.place.clone(),
            rewrapper: Rewrapper::new(config.keys.rewrap_per_second),
            opened: OpenedVersions::default(),
            catalog: shared,
            pool,
            md5: Md5Engine::new(1).map_err(|source| ServeError::System { what: "start the MD5 thread", source })?,
            authorities: Arc::clone(own.authorities()),
            identity: ArcSwap::from_pointee(issued.identity),
            region: config.region.clone(),
            session,
            patience,
        });
        tell(&gateway, "session-opened", &format!("session {session}, node in {place}")).await?;
        take_over(&gateway, handed).await?;
        if let Some(event) = &issued.event {
            tell(&gateway, "identity-issued", event).await?;
        }
        let first = bootstrap::run(&gateway, &home, (&s3_url, &admin_url), replace_administrator_secret).await?;
        let first_secret = FirstSecret::load(&gateway).await?;
        let metrics = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
        let opening = (admin_opening(now, home.fresh), patience);
        let admin_side = Admin::new(Arc::clone(&gateway), Arc::clone(&catalog), metrics.clone(), first_secret, opening);
        tracing::info!(s3 = s3_url, admin = admin_url, place, "ready");
        Ok(Self {
            stack: Stack::new(Arc::clone(&gateway), Domains::parse(&config.listen.domain), patience),
            home,
            catalog,
            gateway,
            admin: admin_side,
            listeners: [s3, admin],
            tls: certificate,
            own,
            metrics,
            again: Arc::new(Again::new(handed.starts)),
            first,
            s3: s3_url,
            admin_url,
        })
    }

    /// Serves until the signal, then drains, flushes and closes.
    ///
    /// # Errors
    /// What could not be closed cleanly.
    pub async fn run(self, signal: impl Future<Output = ()>) -> Result<Ended, ServeError> {
        let (stop, stopped) = watch::channel(false);
        let jobs = Jobs {
            gateway: Arc::clone(&self.gateway),
            catalog: Arc::clone(&self.catalog),
            tls: self.tls,
            identity: self.own,
            again: Arc::clone(&self.again),
            metrics: self.metrics.clone(),
        };
        let jobs = jobs.start(&stopped);
        let [s3, admin] = self.listeners;
        let s3 = tokio::spawn(s3.run(stopped.clone(), Arc::clone(&self.stack)));
        let admin_side = Arc::clone(&self.admin);
        let routes = Routes::new(&self.admin);
        let admin = tokio::spawn(async move {
            routes.opened().await;
            admin.run(stopped, routes).await;
        });
        let mut signal = pin!(signal);
        let begins_anew = tokio::select! {
            () = signal.as_mut() => false,
            () = self.again.now.notified() => true,
        };
        tracing::info!("stopping: requests under way finish first");
        stop.send_replace(true);
        for task in [s3, admin] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task ended in a panic");
            }
        }
        // They may wait for a database that is broken.
        match tokio::time::timeout(RECORDS_TIME, jobs).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a task ended in a panic"),
            Err(_) => tracing::warn!("a job without an end is left behind"),
        }
        drain([self.stack.tasks(), admin_side.tasks()], &self.gateway).await;
        if let Err(error) = close(&self.catalog, &self.gateway).await {
            let left = self.gateway.recorder.folds.take_left();
            // To be closed or dropped they would wait for their databases.
            std::mem::forget((self.catalog, self.gateway));
            // Unless somebody said meanwhile that it shall end.
            return match begins_anew && signal.now_or_never().is_none() {
                true => Ok(Ended::Again(Handover::new(self.again.brake().next(), left))),
                false => Err(error),
            };
        }
        tracing::info!(data = %self.home.bootstrap().parent().unwrap_or(std::path::Path::new("")).display(), "stopped");
        Ok(Ended::Stopped)
    }
}

/// Closes the session and both databases, unless one takes no more writes.
async fn close(catalog: &RocksCatalog, gateway: &Gateway) -> Result<(), ServeError> {
    if catalog.health().is_err() || gateway.chunks.health().is_err() {
        return Err(ServeError::Broken);
    }
    let closed = async {
        tell(gateway, "session-closed", &format!("session {}", gateway.session)).await?;
        gateway.chunks.shutdown().await?;
        catalog.shutdown(clock::now()).await?;
        Ok(())
    };
    // What failed beside all writes, a flush for instance, may be waited for without end.
    tokio::time::timeout(CLOSE_TIME, closed).await.unwrap_or(Err(ServeError::Broken))
}

/// Waits for requests and records under way, in moderation.
async fn drain(under_way: [&TaskTracker; 2], gateway: &Gateway) {
    for tasks in under_way {
        tasks.close();
    }
    let ended = futures::future::join_all(under_way.map(TaskTracker::wait));
    if tokio::time::timeout(RECORDS_TIME, ended).await.is_err() {
        tracing::warn!("requests without an end are left behind");
    }
    if tokio::time::timeout(RECORDS_TIME, gateway.recorder.folds.close()).await.is_err() {
        tracing::warn!("records without an end are left behind");
    }
}

/// The first second that admin requests may be signed at: not one in which a session before accepted some.
const fn admin_opening(now: UtcMillis, fresh: bool) -> UtcMillis {
    let second = now.0 / 1000 * 1000;
    UtcMillis(if fresh { second } else { second + 1000 })
}

/// A control record of the platform.
pub(crate) async fn tell(gateway: &Gateway, event: &str, detail: &str) -> Result<(), Error> {
    let content = Content::Control(Control { event: event.to_owned(), detail: detail.to_owned() });
    gateway.recorder.append(None, clock::now(), &content).await?;
    Ok(())
}

/// This node's identity, which serves while it holds, whatever becomes of the next one.
fn identity_of(home: &Home, config: &Config, now: UtcMillis) -> Result<(OwnIdentity, Issued), ServeError> {
    let own = OwnIdentity::of(home, &Authorities::of(home));
    let issued = own.open(&config.node, home, now)?;
    if let Some(error) = &issued.failed {
        tracing::error!(%error, "the node's identity is not renewed yet");
    }
    Ok((own, issued))
}

fn store_options(
    engine: Engine,
    pool: &Arc<BufferPool>,
    session: SessionId,
    identity: &NodeIdentity,
) -> Result<StoreOptions, Error> {
    Ok(StoreOptions {
        engine,
        pool: Arc::clone(pool),
        session,
        place: identity.place.clone(),
        fresh_id: StoreId::from_bytes(random()?),
        file_bytes: FILE_BYTES,
    })
}

/// The root key that counts, which the row of the platform's key names, and that key. What a crash left of another root
/// key that took its place is finished, or undone.
async fn platform_of(home: &Home, catalog: &dyn Catalog) -> Result<(RootKey, PlatformKey), ServeError> {
    let wrong = || HomeError::from(RootError::WrongKey(home.place.dir.join(root::FILE)));
    let Some(stored) = catalog.control(ControlKind::Platform, platform::ROW).await? else {
        let root = home.roots.current.clone().ok_or_else(wrong)?;
        if !catalog.controls(ControlKind::Tenant, None, 1).await?.is_empty() {
            return Err(Error::Missing("the row of the platform's key").into());
        }
        let key = PlatformKey::random().map_err(Error::from)?;
        key.store(&root, catalog).await?;
        return Ok((root, key));
    };
    let root = home.roots.of(PlatformKey::hangs_on(&stored).map_err(Error::from)?).cloned().ok_or_else(wrong)?;
    let key = PlatformKey::open(&root, &stored).map_err(Error::from)?;
    // It serves all the same, and no other root key takes its place until this is done.
    if let Err(error) = home.place.settle(root.id) {
        tracing::error!(%error, "the file of a root key that was replaced could not be removed");
    }
    Ok((root, key))
}

/// Control state and keys that the root key of `home` vouches for.
async fn state_of(
    home: &Home,
    catalog: &Arc<dyn Catalog>,
    config: &Config,
) -> Result<(Arc<ControlState>, Arc<KeyRing>), ServeError> {
    let (root, platform) = platform_of(home, &**catalog).await?;
    let control = Arc::new(ControlState::new(&platform, Arc::clone(catalog)));
    let wrong = |from: &'static str| move |why| ConfigError::Malformed { from: from.to_owned(), why };
    let mut others: Vec<Arc<dyn KeyProvider>> = Vec::new();
    if let Some(options) = config.openbao.options().map_err(wrong("openbao"))? {
        others.push(Arc::new(OpenBao::new(options)));
    }
    if let Some(options) = config.pkcs11.options().map_err(wrong("pkcs11"))? {
        others.push(Arc::new(Token::new(options)));
    }
    let ttl = Duration::from_secs(config.keys.cache_seconds);
    let hyok = some(&config.hyok.directory).map(|path| Directory::new(PathBuf::from(path)));
    let keys = KeyRing::new(RootInUse::new(root), platform, Arc::clone(&control)).with(others, hyok, ttl);
    Ok((control, Arc::new(keys)))
}

/// Puts on record what the process before counted and could not write.
async fn take_over(gateway: &Gateway, handed: &Handover) -> Result<(), Error> {
    if handed.starts == 0 {
        return Ok(());
    }
    let (starts, folds, beyond) = (handed.starts, handed.folds.len(), handed.beyond);
    let detail = format!(
        "start {starts} of this process after a full disk; {folds} records of counted requests follow; {beyond} further requests have none"
    );
    tell(gateway, "begun-anew", &detail).await?;
    for fold in &handed.folds {
        gateway.recorder.append(None, clock::now(), &Content::Folded(fold.clone())).await?;
    }
    Ok(())
}

/// Bounds of connections, and how long the disk is waited for.
fn bounds(limits: &Limits) -> (ConnectionLimits, Duration) {
    let connections = ConnectionLimits {
        connections: limits.connections,
        per_source: match limits.connections_per_source {
            0 => limits.connections.div_ceil(2),
            most => most,
        },
        first: Duration::from_secs(limits.first_request_seconds),
        idle: Duration::from_secs(limits.idle_seconds),
    };
    (connections, Duration::from_secs(limits.stall_seconds))
}

async fn bind(config: &Config, address: &str) -> Result<TcpListener, ServeError> {
    let refused = |source| ServeError::Listen { address: address.to_owned(), source };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let local = socket.local_addr().map_err(refused)?;
    if !config.tls.is_on() && !local.ip().is_loopback() && !config.danger.plain_http {
        return Err(ServeError::Plain(local));
    }
    Ok(socket)
}

fn url(listener: &Listener) -> Result<String, ServeError> {
    let local =
        listener.socket.local_addr().map_err(|source| ServeError::System { what: "read the local address", source })?;
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{local}"))
}

/// Keys in memory must not reach a core file; what is made on disk is for its owner only, in a directory that
/// others may read too; many connections need many descriptors.
fn harden() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps stay possible");
    }
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }) {
        tracing::debug!(%error, "file limit");
    }
}
