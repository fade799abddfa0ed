//! A store in a temporary directory, and bodies of noise for it.

use std::sync::Arc;

use policy::decide::{BucketFacts, Request, decide};
use policy::id::{BodyId, BucketId, PrincipalId, SessionId, StoreId, TenantId};
use policy::operation::Operation;
use policy::place::{Assurance, Country, Place, VerifiedPlace};
use policy::principal::{Actor, Role};
use policy::residency::Residency;
use storage::buffer::BufferPool;
use storage::chunk::{ChunkId, SealedChunk};
use storage::chunks::{ChunkStore, FILE_BYTES, StoreOptions};
use storage::engine::Engine;
use storage::geometry::SEGMENT_SEALED;
use storage::placement::Placement;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub struct Bench {
    pub store: Arc<ChunkStore>,
    pool: Arc<BufferPool>,
    placement: Placement,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub fn open() -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let pool = BufferPool::new(16);
        let options = StoreOptions {
            engine: Engine::new(),
            pool: Arc::clone(&pool),
            session: SessionId::from_bytes([4; 16]),
            place: here(),
            fresh_id: StoreId::from_bytes([5; 16]),
            file_bytes: FILE_BYTES,
        };
        let store = ChunkStore::open(dir.path(), &options)?;
        let placement = placement(&store)?;
        Ok(Self { store, pool, placement, _dir: dir })
    }

    /// Writes one chunk of so many segments, durably.
    pub async fn write(&self, number: u128, segments: u32) -> Result<ChunkId, Failure> {
        let id = ChunkId { body: BodyId::from_bytes(number.to_be_bytes()), number: 0 };
        let buffer = self.pool.chunk(segments).await?;
        let mut writer = self.store.begin(&self.placement, id.body)?;
        writer.write(SealedChunk::from_sealed(id, buffer, segments, u32::try_from(SEGMENT_SEALED)?)).await?;
        let _claim = writer.finish().await?;
        Ok(id)
    }
}

fn here() -> VerifiedPlace {
    let assurance = Assurance::SelfDeclared;
    let place = Place { country: Country::KR, subdivision: None, site: None, rack: None, operator: None, assurance };
    VerifiedPlace::known(place)
}

fn placement(store: &ChunkStore) -> Result<Placement, Failure> {
    let tenant = TenantId::from_bytes([1; 16]);
    let principal = PrincipalId::from_bytes([2; 16]);
    let actor = Actor { tenant: Some(tenant), principal, role: Role::Engineer, active: true, invited: false };
    let bucket = BucketFacts { id: BucketId::from_bytes([3; 16]), tenant, residency: Residency::korea() };
    let permit = decide(&Request {
        operation: Operation::PutObject,
        actor: Some(&actor),
        bucket: Some(&bucket),
        source: None,
        expected_owner: None,
        expected_source_owner: None,
        tenant_residency: None,
        places: &[here()],
        access: None,
    })
    .map_err(|denial| denial.message())?;
    Ok(Placement::decide(&permit, &[store.facts()], 0.into())?)
}
