//! Sessions of the catalog: each run of a process is a row, and the database lock proves that all before it ended.

use policy::id::SessionId;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};

use super::{Shared, writer};
use crate::catalog::CatalogError;
use crate::catalog::rows::{decode, encode};

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
                out.push(decode("session", &value)?);
            }
        }
        Ok(out)
    }

    /// The database lock proves that earlier sessions are dead; their successor closes them.
    pub(super) fn begin_session(&self, now: UtcMillis) -> Result<u64, CatalogError> {
        let mut batch = rocksdb::WriteBatch::default();
        let mut stream = 1;
        for mut row in self.sessions()? {
            stream = row.stream + 1;
            if row.closed.is_none() {
                row.closed = Some(now);
                batch.put_cf(self.sessions_cf()?, row.stream.to_be_bytes(), encode(&row)?);
            }
        }
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
