//! The store's index. One thread writes it; each value is a version byte and then postcard.
//!
//! | family | key | value |
//! |---|---|---|
//! | `chunks` | pool u16be, slot u16be, body 16, number u32be | [`ChunkRow`] |
//! | `places` | file u64be, offset u64be | key in `chunks` |
//! | `open` | session 16, body 16 | empty |
//! | `files` | file u64be | [`FileRow`] |
//! | `default` | `store-id` | store id 16 |

use std::path::Path;

use policy::id::{BodyId, SessionId, StoreId};
use rocksdb::{ColumnFamily, ErrorKind, ReadOptions, ReadTier, WriteBatch, WriteOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chunk::{ChunkId, Shape, Sums};
use crate::condition::{Condition, Poison};
use crate::engine::{Content, Database, Engine};
use crate::error::StoreError;
use crate::placement::PoolId;
use crate::pool::SlotCount;
use crate::reserve::{Reserve, Space};

const VERSION: u8 = 1;
/// The one pool until there are storage classes.
const POOL: u16 = 0;
/// Its slots.
const SLOTS: SlotCount = SlotCount::SMALL;
const STORE_ID: &[u8] = b"store-id";

/// Where a chunk lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChunkRow {
    pub file: u64,
    pub offset: u64,
    pub shape: Shape,
    pub sums: Sums,
    pub session: SessionId,
}

/// What a segment file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRow {
    /// Bytes up to the end of the last chunk.
    pub size: u64,
    /// Bytes of chunks that exist.
    pub live: u64,
}

#[derive(Debug)]
pub(super) struct Index {
    db: Database,
    reserve: Reserve,
}

const FAMILIES: [&str; 4] = ["chunks", "places", "open", "files"];

/// Key of a chunk: the range of a slot is the range of its keys.
pub(super) fn chunk_key(pool: PoolId, id: ChunkId) -> [u8; 24] {
    let mut out = [0; 24];
    out[..2].copy_from_slice(&pool.number().to_be_bytes());
    out[2..4].copy_from_slice(&SLOTS.slot(id).number().to_be_bytes());
    out[4..20].copy_from_slice(id.body.as_bytes());
    out[20..].copy_from_slice(&id.number.to_be_bytes());
    out
}

/// The chunk that a key names.
pub(super) fn read_key(key: &[u8]) -> Option<ChunkId> {
    let body = key.get(4..20)?.first_chunk::<16>()?;
    let number = key.get(20..24)?.first_chunk::<4>()?;
    Some(ChunkId { body: BodyId::from_bytes(*body), number: u32::from_be_bytes(*number) })
}

/// A change of the index, to be written at once.
#[derive(Default)]
pub(super) struct Batch(WriteBatch);

impl Batch {
    /// Rows in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Index {
    pub fn open(dir: &Path, engine: &Engine) -> Result<Self, StoreError> {
        // First: on a full disk the database could not be opened either.
        let reserve = Reserve::open(dir).map_err(|e| StoreError::io("keep space for the index", e))?;
        Ok(Self { db: engine.open(dir, &FAMILIES.map(|name| (name, Content::Rows)))?, reserve })
    }

    /// Whether there is one in a directory.
    pub fn exists(dir: &Path) -> bool {
        dir.join("CURRENT").exists()
    }

    /// The id that the disk was formatted with.
    pub fn store_id(&self) -> Result<Option<StoreId>, StoreError> {
        let Some(bytes) = self.db.get(STORE_ID)? else { return Ok(None) };
        let id = bytes.as_slice().try_into().map_err(|_| StoreError::Malformed("store id"))?;
        Ok(Some(StoreId::from_bytes(id)))
    }

    /// Formats the disk.
    pub fn format(&self, id: StoreId) -> Result<StoreId, StoreError> {
        self.db.put_opt(STORE_ID, id.as_bytes(), &synced())?;
        Ok(id)
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or(StoreError::Malformed("index: a column family is missing"))
    }

    /// The row of a chunk if it is in memory; `Err(None)` when the disk must be asked.
    pub fn cached(&self, id: ChunkId) -> Result<Option<ChunkRow>, Option<StoreError>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.chunk_with(id, &options) {
            Err(StoreError::Index(e)) if e.kind() == ErrorKind::Incomplete => Err(None),
            other => other.map_err(Some),
        }
    }

    pub fn chunk(&self, id: ChunkId) -> Result<Option<ChunkRow>, StoreError> {
        self.chunk_with(id, &ReadOptions::default())
    }

    fn chunk_with(&self, id: ChunkId, options: &ReadOptions) -> Result<Option<ChunkRow>, StoreError> {
        let key = chunk_key(POOL.into(), id);
        let bytes = self.db.get_pinned_cf_opt(self.family("chunks")?, key, options)?;
        bytes.map(|b| decode("chunk row", &b)).transpose()
    }

    /// Whether its disk has room for rows of new chunks.
    pub fn has_room(&self) -> bool {
        self.reserve.look() == Space::Room
    }

    /// How the store stands, whose database this is.
    pub fn condition(&self, poison: &Poison) -> Condition {
        poison.condition(&self.db, &self.reserve)
    }

    /// Whether something can be written where it lies.
    pub fn probe(&self) -> std::io::Result<()> {
        self.reserve.probe()
    }

    /// Whether its disk has to be looked at often.
    pub fn is_near_full(&self) -> bool {
        self.reserve.is_near()
    }

    /// Every segment file that holds chunks.
    pub fn files(&self) -> Result<Vec<(u64, FileRow)>, StoreError> {
        let mut out = Vec::new();
        for item in self.db.iterator_cf(self.family("files")?, rocksdb::IteratorMode::Start) {
            let (key, value) = item?;
            let number = key.as_ref().try_into().map_err(|_| StoreError::Malformed("file row"))?;
            out.push((u64::from_be_bytes(number), decode("file row", &value)?));
        }
        Ok(out)
    }

    /// Open bodies of other sessions than this one, whose rows are skipped with one seek.
    pub fn unsettled(&self, own: SessionId, limit: usize) -> Result<Vec<(SessionId, BodyId)>, StoreError> {
        let mut cursor = self.db.raw_iterator_cf(self.family("open")?);
        cursor.seek_to_first();
        let mut out = Vec::new();
        while out.len() < limit
            && let Some(key) = cursor.key()
        {
            let (session, body) = key.split_first_chunk::<16>().ok_or(StoreError::Malformed("open row"))?;
            if session == own.as_bytes() {
                cursor.seek([own.as_bytes().as_slice(), &[0xff; 17]].concat());
                continue;
            }
            let body = body.try_into().map_err(|_| StoreError::Malformed("open row"))?;
            out.push((SessionId::from_bytes(*session), BodyId::from_bytes(body)));
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }

    /// Chunks in a file that begin at an offset or behind it, in order.
    pub fn in_file(&self, file: u64, from: u64, limit: usize) -> Result<Vec<(u64, ChunkId)>, StoreError> {
        let mut cursor = self.db.raw_iterator_cf(self.family("places")?);
        cursor.seek(place(file, from));
        let mut out = Vec::new();
        while let Some((key, value)) = cursor.item() {
            if !key.starts_with(&file.to_be_bytes()) || out.len() == limit {
                break;
            }
            let offset = key.get(8..).and_then(|offset| offset.try_into().ok()).map(u64::from_be_bytes);
            out.push(offset.zip(read_key(value)).ok_or(StoreError::Malformed("place row"))?);
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }

    /// Chunks behind a key, in order of keys.
    pub fn page(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, ChunkRow)>, StoreError> {
        let mut cursor = self.db.raw_iterator_cf(self.family("chunks")?);
        match after {
            None => cursor.seek_to_first(),
            Some(key) => {
                cursor.seek(key);
                if cursor.key() == Some(key) {
                    cursor.next();
                }
            }
        }
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((key, value)) = cursor.item()
        {
            out.push((key.to_vec(), decode("chunk row", value)?));
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }

    pub fn put_chunk(&self, batch: &mut Batch, pool: PoolId, id: ChunkId, row: &ChunkRow) -> Result<(), StoreError> {
        let key = chunk_key(pool, id);
        batch.0.put_cf(self.family("chunks")?, key, encode(row)?);
        batch.0.put_cf(self.family("places")?, place_key(row), key);
        Ok(())
    }

    pub fn drop_chunk(&self, batch: &mut Batch, id: ChunkId, row: &ChunkRow) -> Result<(), StoreError> {
        batch.0.delete_cf(self.family("chunks")?, chunk_key(POOL.into(), id));
        self.drop_place(batch, row)
    }

    pub fn drop_place(&self, batch: &mut Batch, row: &ChunkRow) -> Result<(), StoreError> {
        batch.0.delete_cf(self.family("places")?, place_key(row));
        Ok(())
    }

    pub fn put_open(&self, batch: &mut Batch, session: SessionId, body: BodyId) -> Result<(), StoreError> {
        batch.0.put_cf(self.family("open")?, open_key(session, body), []);
        Ok(())
    }

    pub fn drop_open(&self, batch: &mut Batch, session: SessionId, body: BodyId) -> Result<(), StoreError> {
        batch.0.delete_cf(self.family("open")?, open_key(session, body));
        Ok(())
    }

    pub fn put_file(&self, batch: &mut Batch, file: u64, row: Option<FileRow>) -> Result<(), StoreError> {
        match row {
            Some(row) => batch.0.put_cf(self.family("files")?, file.to_be_bytes(), encode(&row)?),
            None => batch.0.delete_cf(self.family("files")?, file.to_be_bytes()),
        }
        Ok(())
    }

    /// Writes a batch, durably: a journal in which batches that were not synced follow each other could not be
    /// told from a damaged one.
    pub fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.0.is_empty() {
            return Ok(());
        }
        self.has_room();
        Ok(self.db.write_opt(batch.0, &synced())?)
    }

    /// Rows that were ever written.
    #[cfg(test)]
    pub fn written(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Makes the row of a chunk unreadable.
    #[cfg(test)]
    pub fn spoil(&self, id: ChunkId) {
        self.db.put_cf_opt(self.family("chunks").unwrap(), chunk_key(POOL.into(), id), [0xff], &synced()).unwrap();
    }

    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true)?;
        for name in FAMILIES {
            self.db.flush_cf(self.family(name)?)?;
        }
        Ok(())
    }
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

fn place_key(row: &ChunkRow) -> [u8; 16] {
    place(row.file, row.offset)
}

fn place(file: u64, offset: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&file.to_be_bytes());
    out[8..].copy_from_slice(&offset.to_be_bytes());
    out
}

fn open_key(session: SessionId, body: BodyId) -> [u8; 32] {
    let mut out = [0; 32];
    out[..16].copy_from_slice(session.as_bytes());
    out[16..].copy_from_slice(body.as_bytes());
    out
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![VERSION]).map_err(|_| StoreError::Malformed("row to be written"))
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    let body = bytes.strip_prefix(&[VERSION]).ok_or(StoreError::Malformed(what))?;
    postcard::from_bytes(body).map_err(|_| StoreError::Malformed(what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::RootAlgorithm;

    proptest! {
        #[test]
        fn keys_name_their_chunk(body: [u8; 16], number: u32, pool: u16) {
            let id = ChunkId { body: BodyId::from_bytes(body), number };
            prop_assert_eq!(read_key(&chunk_key(pool.into(), id)), Some(id));
        }

        #[test]
        fn a_root_is_read_only_by_the_algorithm_that_its_row_names(crcs in proptest::collection::vec(any::<u32>(), 0..65), root: [u8; 32], id: u8) {
            let (sums, session) = (Sums { crcs, algorithm: RootAlgorithm::Blake3, root }, SessionId::from_bytes([1; 16]));
            let row = ChunkRow { file: 1, offset: 4096, shape: Shape { segments: 1, last: 17 }, sums, session };
            let mut bytes = encode(&row).unwrap();
            prop_assert_eq!(&decode::<ChunkRow>("chunk row", &bytes).unwrap(), &row);
            // Behind it stand the root and the session.
            let at = bytes.len() - 1 - 32 - 16;
            prop_assert_eq!(bytes[at], 1);
            bytes[at] = id;
            prop_assert_eq!(decode::<ChunkRow>("chunk row", &bytes).is_ok(), id == 1);
        }

        #[test]
        fn any_row_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _chunk = decode::<ChunkRow>("chunk row", &bytes);
            let _file = decode::<FileRow>("file row", &bytes);
        }
    }
}
