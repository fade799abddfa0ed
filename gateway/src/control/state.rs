//! Control state as it may be believed: whoever writes the catalog cannot forge a row (SECURITY.md rule 18).
//!
//! Control key = derive(platform key, "control", ""). A stored control row is `proof 32 || content`, with
//! proof = derive(control key, "control-row", kind u8 || u32 and id || content). A bucket's row keeps
//! derive(control key, "bucket-row", the row as it is stored without its proof).

use std::ops::Deref;
use std::sync::Arc;

use policy::id::TenantId;
use policy::name::BucketName;
use storage::catalog::{Before, BucketRow, BucketUpdate, Catalog, ControlKind, ControlPut};
use subtle::ConstantTimeEq;

use super::ControlRow;
use crate::error::Error;
use crate::platform::{self, PlatformKey};
use crate::seal::{SecretKey, Suite};

/// Rows read at once.
const PAGE: usize = 256;
const PROOF: usize = 32;

/// A bucket whose row has proved itself.
#[derive(Debug, Clone)]
pub struct Bucket(Arc<BucketRow>);

impl Deref for Bucket {
    type Target = BucketRow;

    fn deref(&self) -> &BucketRow {
        &self.0
    }
}

/// A row as it stands: what is made from it takes its place, and no other's.
#[derive(Debug)]
pub struct Standing<R> {
    /// The row.
    pub row: R,
    stored: Vec<u8>,
}

impl<R> Standing<R> {
    /// What stands there after it was committed as `stored`.
    #[must_use]
    pub const fn stored(row: R, stored: Vec<u8>) -> Self {
        Self { row, stored }
    }
}

/// Reads control rows and buckets of one catalog, and makes what is stored of them.
#[derive(Debug)]
pub struct ControlState {
    key: SecretKey,
    catalog: Arc<dyn Catalog>,
}

impl ControlState {
    /// The state that a platform's key vouches for.
    #[must_use]
    pub fn new(platform: &PlatformKey, catalog: Arc<dyn Catalog>) -> Self {
        Self { key: platform.control(), catalog }
    }

    /// One row.
    ///
    /// # Errors
    /// `Catalog` when it cannot be read, `Forged` when it does not prove itself, `Corrupt` when it makes no sense.
    pub async fn row<R: ControlRow>(&self, id: &[u8]) -> Result<Option<R>, Error> {
        self.content(R::KIND, id).await?.map(|content| decode(&content)).transpose()
    }

    /// All rows of one kind, a page at a time, keeping those that `keep` wants, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn rows<R: ControlRow>(&self, limit: usize, keep: impl Fn(&R) -> bool) -> Result<Vec<R>, Error> {
        let mut out = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.catalog.controls(R::KIND, after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            for (id, stored) in page {
                let row = decode::<R>(self.proved(R::KIND, &id, &stored)?)?;
                if keep(&row) {
                    out.push(row);
                    if out.len() == limit {
                        return Ok(out);
                    }
                }
                after = Some(id);
            }
            if !full {
                return Ok(out);
            }
        }
    }

    /// All rows of one kind that `keep` wants, to be changed.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn all_standing<R: ControlRow>(&self, keep: impl Fn(&R) -> bool) -> Result<Vec<Standing<R>>, Error> {
        let mut out = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.catalog.controls(R::KIND, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(out) };
            after = Some(last.clone());
            for (id, stored) in page {
                let row = decode(self.proved(R::KIND, &id, &stored)?)?;
                if keep(&row) {
                    out.push(Standing { row, stored });
                }
            }
        }
    }

    /// The content of a row that is no document: a name, a mark.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn content(&self, kind: ControlKind, id: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(stored) = self.catalog.control(kind, id).await? else { return Ok(None) };
        Ok(Some(self.proved(kind, id, &stored)?.to_vec()))
    }

    /// As [`Self::content`], to be changed: the content, and the row as it stands.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn content_standing(&self, kind: ControlKind, id: &[u8]) -> Result<Option<(Vec<u8>, Before)>, Error> {
        let Some(stored) = self.catalog.control(kind, id).await? else { return Ok(None) };
        Ok(Some((self.proved(kind, id, &stored)?.to_vec(), Before::Is(stored))))
    }

    /// Contents whose ids begin so, behind one of them: a page, none at the end.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn contents(
        &self,
        kind: ControlKind,
        front: &[u8],
        after: &[u8],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let page = self.catalog.controls(kind, Some(after), PAGE).await?;
        let of_front = page.into_iter().take_while(|(id, _)| id.starts_with(front));
        of_front.map(|(id, stored)| Ok((id.clone(), self.proved(kind, &id, &stored)?.to_vec()))).collect()
    }

    /// One row, to be changed.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn standing<R: ControlRow>(&self, id: &[u8]) -> Result<Option<Standing<R>>, Error> {
        let Some(stored) = self.catalog.control(R::KIND, id).await? else { return Ok(None) };
        let row = decode(self.proved(R::KIND, id, &stored)?)?;
        Ok(Some(Standing { row, stored }))
    }

    /// Stores a row where there is none.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be encoded.
    pub fn create<R: ControlRow>(&self, row: &R) -> Result<ControlPut, Error> {
        Ok(self.put_content(R::KIND, row.id(), &encode(row)?, Before::Absent))
    }

    /// Stores what a row becomes, if it still stands as it was read.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be encoded.
    pub fn replace<R: ControlRow>(&self, standing: &Standing<R>, row: &R) -> Result<ControlPut, Error> {
        Ok(self.put_content(R::KIND, row.id(), &encode(row)?, Before::Is(standing.stored.clone())))
    }

    /// Stores a row that is no document.
    #[must_use]
    pub fn put_content(&self, kind: ControlKind, id: Vec<u8>, content: &[u8], before: Before) -> ControlPut {
        let value = [&self.proof(kind, &id, content), content].concat();
        ControlPut { kind, id, value, before }
    }

    /// The bucket of a name.
    ///
    /// # Errors
    /// `Catalog` when it cannot be read, `Forged` when its row does not prove itself.
    pub async fn bucket(&self, name: &BucketName) -> Result<Option<Bucket>, Error> {
        self.catalog.bucket(name).await?.map(|row| self.proved_bucket(row)).transpose()
    }

    /// A tenant's buckets by name.
    ///
    /// # Errors
    /// As [`Self::bucket`].
    pub async fn buckets(
        &self,
        tenant: TenantId,
        after: Option<&BucketName>,
        limit: usize,
    ) -> Result<Vec<Bucket>, Error> {
        let rows = self.catalog.buckets(Some(tenant), after, limit).await?;
        rows.into_iter().map(|row| self.proved_bucket(row)).collect()
    }

    /// What a bucket becomes, if it still is as it was read.
    ///
    /// # Errors
    /// `Catalog` when it cannot be encoded.
    pub fn update(&self, bucket: &Bucket, row: BucketRow) -> Result<BucketUpdate, Error> {
        Ok(BucketUpdate { row: self.prove(row)?, was: bucket.proof })
    }

    /// A bucket's row with its proof, to be stored.
    ///
    /// # Errors
    /// `Catalog` when it cannot be encoded.
    pub fn prove(&self, row: BucketRow) -> Result<BucketRow, Error> {
        let proof = self.bucket_proof(&row)?;
        Ok(BucketRow { proof, ..row })
    }

    /// Looks at every control row and every bucket, and reports those that do not prove themselves. Gives their number.
    ///
    /// # Errors
    /// `Catalog` when rows cannot be read.
    pub async fn survey(&self) -> Result<usize, Error> {
        let mut forged = 0;
        for kind in ControlKind::ALL {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = self.catalog.controls(kind, after.as_deref(), PAGE).await?;
                let rows =
                    page.iter().filter(|(id, _)| (kind, id.as_slice()) != (ControlKind::Platform, platform::ROW));
                forged += rows.filter(|(id, stored)| self.proved(kind, id, stored).is_err()).count();
                match page.into_iter().last() {
                    Some((id, _)) => after = Some(id),
                    None => break,
                }
            }
        }
        let mut after: Option<BucketName> = None;
        loop {
            let page = self.catalog.buckets(None, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(forged) };
            after = Some(last.name.clone());
            forged += page.into_iter().filter(|row| self.proved_bucket(Arc::clone(row)).is_err()).count();
        }
    }

    fn proof(&self, kind: ControlKind, id: &[u8], content: &[u8]) -> [u8; PROOF] {
        // An id has at most a few dozen bytes, so the cast cannot cut.
        let length = u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes();
        Suite::Aes256Gcm.prove(&self.key, "control-row", &[&[kind.id()], &length, id, content])
    }

    fn proved<'a>(&self, kind: ControlKind, id: &[u8], stored: &'a [u8]) -> Result<&'a [u8], Error> {
        match stored.split_first_chunk::<PROOF>() {
            Some((proof, content)) if holds(proof, &self.proof(kind, id, content)) => Ok(content),
            _ => Err(forged(kind.name(), shown(id))),
        }
    }

    fn bucket_proof(&self, row: &BucketRow) -> Result<[u8; PROOF], Error> {
        Ok(Suite::Aes256Gcm.prove(&self.key, "bucket-row", &[&row.unproven()?]))
    }

    fn proved_bucket(&self, row: Arc<BucketRow>) -> Result<Bucket, Error> {
        if holds(&row.proof, &self.bucket_proof(&row)?) {
            Ok(Bucket(row))
        } else {
            Err(forged("bucket", format!("{}, named {}", row.id, row.name)))
        }
    }
}

/// Names are text, ids are bytes.
fn shown(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => text.to_owned(),
        _ => hex::encode(id),
    }
}

fn holds(proof: &[u8; PROOF], expected: &[u8; PROOF]) -> bool {
    proof.ct_eq(expected).into()
}

fn forged(kind: &'static str, id: String) -> Error {
    tracing::error!(kind, id, "a control row does not prove itself: not used");
    metrics::counter!("gotgan_rows_refused_total").increment(1);
    Error::Forged { kind, id }
}

fn encode<R: ControlRow>(row: &R) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(|e| Error::Corrupt(e.to_string()))
}

pub(crate) fn decode<R: ControlRow>(content: &[u8]) -> Result<R, Error> {
    serde_json::from_slice(content).map_err(|e| Error::Corrupt(format!("control row: {e}")))
}

#[cfg(test)]
mod tests {
    use policy::id::{BucketId, KeyId, PrincipalId, SessionId};
    use policy::residency::Residency;
    use policy::time::UtcMillis;
    use storage::catalog::rocks::{CatalogOptions, RocksCatalog};
    use storage::catalog::{Change, Commit, WrappedKey};
    use storage::engine::Engine;

    use super::*;
    use crate::control::TenantRow;

    fn tenant(name: &str) -> TenantRow {
        let id = TenantId::from_bytes([name.as_bytes()[0]; 16]);
        let (created, key) = (UtcMillis(1), KeyId::from_bytes([2; 16]));
        let (residency, log_key) = (Residency::korea(), Vec::new());
        TenantRow { id, name: name.to_owned(), created, residency, key, log_key, seated: false }
    }

    fn bucket(name: &str) -> BucketRow {
        BucketRow {
            id: BucketId::from_bytes([name.as_bytes()[0]; 16]),
            name: name.parse().unwrap(),
            tenant: tenant("a").id,
            owner: PrincipalId::from_bytes([4; 16]),
            created: UtcMillis(1),
            residency: Residency::korea(),
            keys: vec![WrappedKey { id: KeyId::from_bytes([5; 16]), version: 1, wrapped: vec![5; 40] }],
            hung_on: Vec::new(),
            closed: false,
            proof: [0; 32],
        }
    }

    async fn commit(catalog: &dyn Catalog, change: Change) {
        catalog.commit(Commit { change, record: None }).await.unwrap();
    }

    #[tokio::test]
    async fn rows_are_believed_where_they_were_put_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let session = SessionId::from_bytes([1; 16]);
        let options = CatalogOptions { engine: Engine::new(), session, now: UtcMillis(1), crew: Arc::default() };
        let catalog: Arc<dyn Catalog> = RocksCatalog::open(dir.path(), &options).unwrap();
        let [ours, other] = [(); 2].map(|()| ControlState::new(&PlatformKey::random().unwrap(), Arc::clone(&catalog)));
        let (a, b) = (tenant("a"), tenant("b"));
        let puts = vec![ours.create(&a).unwrap(), ours.create(&b).unwrap()];
        commit(&*catalog, Change::PutControl { rows: puts.clone(), buckets: Vec::new() }).await;
        for name in ["barley", "millet"] {
            commit(&*catalog, Change::CreateBucket(ours.prove(bucket(name)).unwrap())).await;
        }
        assert_eq!(ours.row::<TenantRow>(&a.id()).await.unwrap().unwrap().name, "a");
        assert_eq!(ours.rows::<TenantRow>(9, |_| true).await.unwrap().len(), 2);
        assert_eq!(ours.bucket(&"barley".parse().unwrap()).await.unwrap().unwrap().name.as_str(), "barley");
        assert_eq!((ours.survey().await.unwrap(), other.survey().await.unwrap()), (0, 4));
        assert!(matches!(other.row::<TenantRow>(&a.id()).await, Err(Error::Forged { kind: "tenant", .. })));

        // The same bytes under another id, under another kind, and with one bit changed.
        let value = &puts[0].value;
        for (kind, id) in [(ControlKind::Tenant, b.id()), (ControlKind::Principal, a.id())] {
            let moved = ControlPut { kind, id, value: value.clone(), before: Before::Any };
            commit(&*catalog, Change::PutControl { rows: vec![moved], buckets: Vec::new() }).await;
        }
        assert!(matches!(ours.row::<TenantRow>(&b.id()).await, Err(Error::Forged { .. })));
        assert!(matches!(ours.rows::<TenantRow>(9, |_| true).await, Err(Error::Forged { .. })));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(ours.proved(ControlKind::Tenant, &a.id(), &changed).is_err(), "byte {at}");
        }
        assert!(ours.proved(ControlKind::Tenant, &a.id(), &value[..20]).is_err());
        assert_eq!(ours.survey().await.unwrap(), 2);

        let row = ours.prove(bucket("barley")).unwrap();
        let narrower = Residency::within_korea(["KR-41".parse().unwrap()].into(), Default::default()).unwrap();
        for forged in [
            BucketRow { name: "millet".parse().unwrap(), ..row.clone() },
            BucketRow { id: bucket("millet").id, ..row.clone() },
            BucketRow { tenant: b.id, ..row.clone() },
            BucketRow { owner: PrincipalId::from_bytes([5; 16]), ..row.clone() },
            BucketRow { created: UtcMillis(2), ..row.clone() },
            BucketRow { residency: narrower, ..row.clone() },
            BucketRow { keys: Vec::new(), ..row.clone() },
            BucketRow { closed: true, ..row.clone() },
            BucketRow { hung_on: vec![KeyId::from_bytes([6; 16])], ..row.clone() },
            BucketRow { proof: [0; 32], ..row.clone() },
        ] {
            assert!(ours.proved_bucket(Arc::new(forged)).is_err());
        }
        assert!(ours.proved_bucket(Arc::new(row)).is_ok());
    }
}
