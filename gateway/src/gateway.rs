//! Everything that a request needs, built once.

use std::sync::Arc;
use std::time::Duration;

use crate::digest::md5::Md5Engine;
use arc_swap::ArcSwap;
use certs::identity::NodeIdentity;
use policy::id::SessionId;
use policy::place::VerifiedPlace;
use storage::buffer::BufferPool;
use storage::catalog::Catalog;
use storage::chunks::ChunkStore;
use storage::reads::Reads;

use crate::authorities::Authorities;
use crate::clock;
use crate::control::ControlState;
use crate::identity::Identities;
use crate::keys::KeyRing;
use crate::opened::OpenedVersions;
use crate::record::Recorder;
use crate::rewrap::Rewrapper;
use crate::root::RootPlace;

/// The parts of one gateway process.
#[derive(Debug)]
pub struct Gateway {
    /// Buckets, versions, uploads, control rows, log.
    pub catalog: Arc<dyn Catalog>,
    /// Control rows and buckets of the catalog, proved.
    pub control: Arc<ControlState>,
    /// The chunk store of this machine's disk.
    pub chunks: Arc<ChunkStore>,
    /// Reads in flight, which hold back deletion.
    pub reads: Arc<Reads>,
    /// Unwraps keys.
    pub keys: Arc<KeyRing>,
    /// Names this installation.
    pub installation: String,
    /// Whether destructions are trials of the procedure: nobody is made to wait, and their certificates say so.
    pub trial_destruction: bool,
    /// Whether it lies inside the data directory, so that copies of the data carry it.
    pub root_inside_data: bool,
    /// Where the root key lies.
    pub root_place: RootPlace,
    /// Wraps the envelopes of rotated buckets.
    pub rewrapper: Rewrapper,
    /// Versions that were opened a moment ago.
    pub opened: OpenedVersions,
    /// Access keys.
    pub identities: Arc<Identities>,
    /// Makes access records.
    pub recorder: Arc<Recorder>,
    /// Buffers of sealed bytes.
    pub pool: Arc<BufferPool>,
    /// MD5 beside sealing.
    pub md5: Md5Engine,
    /// The CAs that sign machines.
    pub authorities: Arc<Authorities>,
    /// What this node's identity says, verified.
    pub identity: ArcSwap<NodeIdentity>,
    /// The region name that clients see.
    pub region: String,
    /// This run.
    pub session: SessionId,
    /// How long the disk is waited for.
    pub patience: Duration,
}

impl Gateway {
    /// Where bytes rest now: the catalog and the one store of embedded mode stand in the same place.
    #[must_use]
    pub fn place(&self) -> VerifiedPlace {
        self.identity.load().place_at(clock::now().0)
    }
}
