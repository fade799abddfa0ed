//! Bodies: counted by who refers to them, released by the last, and condemned by the collector.

use policy::id::BodyId;

use super::super::Shared;
use super::super::writer::unread;
use super::{Applied, Batch, Outcome, refuse};
use crate::catalog::{BodyRow, BodyState, GarbageRow, Location, NewBody, ObjectMark, Refusal, keys};

impl Batch<'_> {
    pub(super) fn condemn(&mut self, body: BodyId) -> Outcome<Applied> {
        match self.body_of(body).map_err(unread)? {
            // A released one has its garbage row, which waits for reads in flight.
            Some(BodyRow { state: BodyState::Live { .. } | BodyState::Released, .. }) => refuse(Refusal::Exists),
            Some(BodyRow { state: BodyState::Condemned, .. }) => Ok(Applied::default()),
            None => {
                let row = BodyRow {
                    state: BodyState::Condemned,
                    object: ObjectMark::NONE,
                    location: Location::Chunks { pool: 0 },
                    sealed_bytes: 0,
                    digest: [0; 32],
                    session: self.shared.session.id,
                };
                self.keep_body(body, row)?;
                Ok(Applied::default())
            }
        }
    }

    pub(super) fn forget(&mut self, rows: &[GarbageRow]) -> Outcome<Applied> {
        self.foresee(rows.iter().map(|row| row.body))?;
        for row in rows {
            let left = if row.retired == 0 { BodyState::Condemned } else { BodyState::Released };
            if !self.unreadable.contains(&row.body)
                && self.body_of(row.body).map_err(unread)?.is_some_and(|body| body.state == left)
            {
                let family = self.shared.bodies_cf().map_err(unread)?;
                self.write.delete_cf(family, row.body.as_bytes());
                self.bodies.insert(row.body, None);
            }
            if row.retired > 0 {
                let family = self.shared.garbage_cf().map_err(unread)?;
                self.write.delete_cf(family, keys::garbage(row.retired, row.body));
            }
        }
        Ok(Applied::default())
    }

    pub(super) fn new_body(&mut self, object: ObjectMark, body: &NewBody) -> Outcome<()> {
        if let Some(inline) = &body.inline {
            let family = self.shared.inline_cf().map_err(unread)?;
            self.write.put_cf(family, body.id.as_bytes(), inline);
        }
        let row = BodyRow {
            state: BodyState::Live { refs: 1 },
            object,
            location: body.location,
            sealed_bytes: body.sealed_bytes,
            digest: body.digest,
            session: self.shared.session.id,
        };
        self.keep_body(body.id, row)
    }

    pub(super) fn reference(&mut self, body: BodyId) -> Outcome<()> {
        match self.body_of(body).map_err(unread)? {
            Some(row @ BodyRow { state: BodyState::Live { refs }, .. }) => {
                self.keep_body(body, BodyRow { state: BodyState::Live { refs: refs + 1 }, ..row })
            }
            _ => refuse(Refusal::BodyGone),
        }
    }

    /// One reference of this object less; the last one makes garbage, read in this very step. A body of
    /// another object stays, whatever row names it.
    pub(super) fn release(&mut self, object: ObjectMark, body: BodyId, sequence: u64) -> Outcome<()> {
        if self.unreadable.contains(&body) {
            return Ok(());
        }
        let Some(row) = self.body_of(body).map_err(unread)? else { return Ok(()) };
        if row.object != object && row.state != BodyState::Condemned {
            metrics::counter!("gotgan_rows_refused_total").increment(1);
            tracing::error!(%body, "a row names the body of another object, which stays");
            return Ok(());
        }
        match row.state {
            BodyState::Live { refs } if refs > 1 => {
                self.keep_body(body, BodyRow { state: BodyState::Live { refs: refs - 1 }, ..row })
            }
            BodyState::Live { .. } => match row.location {
                Location::Inline => {
                    self.write.delete_cf(self.shared.bodies_cf().map_err(unread)?, body.as_bytes());
                    self.bodies.insert(body, None);
                    self.write.delete_cf(self.shared.inline_cf().map_err(unread)?, body.as_bytes());
                    Ok(())
                }
                Location::Chunks { .. } => {
                    self.write.put_cf(self.shared.garbage_cf().map_err(unread)?, keys::garbage(sequence, body), []);
                    self.keep_body(body, BodyRow { state: BodyState::Released, ..row })
                }
            },
            BodyState::Released | BodyState::Condemned => Ok(()),
        }
    }

    fn keep_body(&mut self, body: BodyId, row: BodyRow) -> Outcome<()> {
        self.put(Shared::bodies_cf, body.as_bytes(), &row)?;
        self.bodies.insert(body, Some(row));
        Ok(())
    }
}
