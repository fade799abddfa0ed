//! Sessions of the catalog: each run of a process is a row, and the database lock proves that all before it ended.

use policy::id::SessionId;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};

use super::{Shared, writer};
use crate::catalog::rows::{decode, encode};
use crate::catalog::{CatalogError, keys};

/// One run of a process, as the catalog remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Its log stream.
    pub stream: u64,
    /// When it began.
    pub opened: UtcMillis,
    /// It ended, cleanly or as its successor found.
    pub closed: Option<UtcMillis>,
}

impl Shared {
    pub(super) fn last_sequence(&self) -> Result<u64, CatalogError> {
        let bytes = self.db.get_cf(self.sessions_cf()?, writer::SEQUENCE_KEY)?;
        Ok(bytes.and_then(|b| b.as_slice().try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    pub(super) fn sessions(&self) -> Result<Vec<SessionRow>, CatalogError> {
        let mut out = Vec::new();
        for item in self.db.iterator_cf(self.sessions_cf()?, rocksdb::IteratorMode::Start) {
            let (key, value) = item?;
            if key.len() == 8 {
                let row: SessionRow = decode("session", &value)?;
                if *key != row.stream.to_be_bytes() {
                    return Err(CatalogError::Corrupt(format!("the row of session {} names another stream", row.id)));
                }
                out.push(row);
            }
        }
        Ok(out)
    }

    /// The last stream that anything was written to, whatever the sessions say of themselves.
    fn last_stream(&self) -> Result<u64, CatalogError> {
        let mut cursor = self.db.raw_iterator_cf(self.log_cf()?);
        cursor.seek_to_last();
        while let Some(key) = cursor.key() {
            if let Some(position) = keys::read_log(key) {
                return Ok(position.stream);
            }
            cursor.prev();
        }
        cursor.status()?;
        Ok(0)
    }

    /// The database lock proves that earlier sessions are dead; their successor closes them.
    pub(super) fn begin_session(&self, now: UtcMillis) -> Result<u64, CatalogError> {
        let mut batch = rocksdb::WriteBatch::default();
        let mut last = self.last_stream()?;
        for mut row in self.sessions()? {
            last = last.max(row.stream);
            if row.closed.is_none() {
                row.closed = Some(now);
                batch.put_cf(self.sessions_cf()?, row.stream.to_be_bytes(), encode(&row)?);
            }
        }
        // A stream is written by one session: two in one would overwrite each other's records.
        let stream = last.checked_add(1).ok_or_else(|| CatalogError::Corrupt("no stream is left".to_owned()))?;
        let row = SessionRow { stream, ..self.session.clone() };
        batch.put_cf(self.sessions_cf()?, stream.to_be_bytes(), encode(&row)?);
        self.db.write_opt(batch, &writer::synced())?;
        Ok(stream)
    }

    pub(super) fn end_session(&self, now: UtcMillis) -> Result<(), CatalogError> {
        let row = SessionRow { closed: Some(now), ..self.session.clone() };
        self.db.put_cf_opt(self.sessions_cf()?, row.stream.to_be_bytes(), encode(&row)?, &writer::synced())?;
        Ok(())
    }
}
