//! One bucket goes and the tenant keys that it hangs on stay: whatever survives is wrapped by another version of them, and
//! those before are destroyed at the provider (SECURITY.md rule 16).

use policy::id::KeyId;
use policy::reason::Reason;

use super::job::Work;
use crate::clock::{now, rfc3339};
use crate::control::{DestructionState, KeyAnswer, KeyState, Standing, TenantKeyRow};
use crate::error::Error;
use crate::keys::Behind;
use crate::provider::ProviderKind;
use crate::rotation::{Rotation, rotate, wrapped_by_last};

impl Work<'_> {
    /// Until nothing that survives hangs on an older version of the keys, and the providers other than the sealed file have
    /// destroyed those. Gives the keys of the sealed file, with the versions before which a round destroys theirs.
    pub(super) async fn destroy_versions(&mut self) -> Result<Vec<(KeyId, u32)>, Error> {
        let mut sealed = Vec::new();
        for id in self.known.row.keys.clone() {
            if self.answered(id) {
                continue;
            }
            let key = self.key(id).await?;
            if let KeyState::Destroyed { at } = key.row.state {
                self.gone_before(&key.row, at).await?;
                continue;
            }
            let version = self.survivors_leave(id).await?;
            let key = self.key(id).await?;
            if key.row.provider == ProviderKind::SealedFile {
                sealed.push((id, version));
            } else {
                self.destroy_older(key, version).await?;
            }
        }
        Ok(sealed)
    }

    async fn key(&self, id: KeyId) -> Result<Standing<TenantKeyRow>, Error> {
        let key = self.gateway.control.standing::<TenantKeyRow>(id.as_bytes()).await?;
        key.ok_or(Error::Missing("tenant key"))
    }

    fn answered(&self, key: KeyId) -> bool {
        let DestructionState::Destroying { answers, .. } = &self.known.row.state else { return true };
        answers.iter().any(|answer| answer.key == key)
    }

    /// Somebody had the whole key destroyed meanwhile, and what hung on it of this bucket.
    async fn gone_before(&mut self, key: &TenantKeyRow, at: policy::time::UtcMillis) -> Result<(), Error> {
        let DestructionState::Destroying { asked, answers, left } = self.known.row.state.clone() else { return Ok(()) };
        let answer = format!("all versions of it were destroyed by another destruction, at {}", rfc3339(at));
        let said = format!("tenant key {} ({}): {answer}", key.name, key.id);
        let answers = [answers.as_slice(), &[KeyAnswer { key: key.id, answer, at: now() }]].concat();
        let state = DestructionState::Destroying { asked, answers, left };
        self.commit(state, Vec::new(), ("tenant-key-versions-destroyed", said)).await
    }

    /// A version more of a key, once, which wraps whatever survives; gives its number.
    async fn survivors_leave(&mut self, id: KeyId) -> Result<u32, Error> {
        let gateway = self.gateway;
        // No other root key takes the place of the one that wraps the new version.
        let _administering = gateway.keys.administering().await;
        // Before its provider makes a version that nothing could be wrapped by.
        gateway.keys.usable(id, Reason::Rewrap).await?;
        let DestructionState::Destroying { left, .. } = &self.known.row.state else {
            return Err(Error::Missing("a destruction that is under way"));
        };
        let version = match left.iter().find(|(known, _)| *known == id) {
            Some((_, version)) => *version,
            None => self.next_version(id).await?,
        };
        // What was made under an older version a moment ago is committed by now, or is made anew; it is the last of it.
        let _alone = gateway.keys.suspending(Behind::Key(id)).await;
        let key = self.key(id).await?;
        let buckets = wrapped_by_last(gateway, &key.row).await?;
        if !buckets.is_empty() {
            let (count, name) = (buckets.len(), &key.row.name);
            let said = format!("the keys of {count} buckets more were wrapped by the last version of {name} ({id})");
            // As the key stands: one that is rotated meanwhile is looked at again.
            let rows = vec![gateway.control.replace(&key, &key.row)?];
            let state = self.known.row.state.clone();
            self.commit_with(state, (rows, buckets), ("bucket-keys-rewrapped", said)).await?;
        }
        match wrapped_by_last(gateway, &key.row).await?.is_empty() && key.row.current()?.number >= version {
            true => Ok(version),
            false => Err(Error::Missing("the proof that nothing hangs on older versions of a tenant key")),
        }
    }

    /// Another version of a key, committed with the keys of the buckets that survive, which it wraps.
    async fn next_version(&mut self, id: KeyId) -> Result<u32, Error> {
        let DestructionState::Destroying { asked, answers, left } = self.known.row.state.clone() else {
            return Err(Error::Missing("a destruction that is under way"));
        };
        let key = self.key(id).await?;
        let Rotation { row, buckets } = rotate(self.gateway, &key.row).await?;
        let rows = vec![self.gateway.control.replace(&key, &row)?];
        let version = row.current()?.number;
        let said = format!(
            "tenant key {} ({id}) has version {version}, by which the keys of {} buckets that survive were wrapped",
            row.name,
            buckets.len()
        );
        let left = [left.as_slice(), &[(id, version)]].concat();
        let state = DestructionState::Destroying { asked, answers, left };
        self.commit_with(state, (rows, buckets), ("tenant-key-rotated", said)).await?;
        Ok(version)
    }

    /// A provider is asked to destroy the versions before this one of a key that it was seen to hold.
    async fn destroy_older(&mut self, key: Standing<TenantKeyRow>, version: u32) -> Result<(), Error> {
        let DestructionState::Destroying { asked, answers, left } = self.known.row.state.clone() else { return Ok(()) };
        let mut older = key.row.versions.iter().filter(|older| older.number < version);
        let answer = if older.all(|older| older.destroyed.is_some()) {
            // A provider that has trimmed it further takes no earlier version.
            "the versions before it were destroyed by another destruction".to_owned()
        } else {
            self.gateway.keys.holds(&key.row).await?;
            self.gateway.keys.destroy_before(&key.row, version).await?
        };
        let mut row = key.row.clone();
        row.destroy_before(version, now());
        let rows = vec![self.gateway.control.replace(&key, &row)?];
        let said = format!("versions before {version} of tenant key {} ({}) are destroyed: {answer}", row.name, row.id);
        let answers = [answers.as_slice(), &[KeyAnswer { key: row.id, answer, at: now() }]].concat();
        let state = DestructionState::Destroying { asked, answers, left };
        self.commit(state, rows, ("tenant-key-versions-destroyed", said)).await
    }
}
