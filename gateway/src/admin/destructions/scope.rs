//! What a destruction reaches: keys with all that hangs on them, or one bucket.

use http::StatusCode;
use policy::id::{KeyId, TenantId};
use policy::name::BucketName;
use policy::time::UtcMillis;
use serde_json::Value;

use crate::admin::accounts::bad;
use crate::admin::approvals::conflict;
use crate::admin::keys::{key, keys_of};
use crate::admin::{Admin, Call, Failure};
use crate::clock::rfc3339;
use crate::control::{Bucket, DestructionRow, KeyState, TenantKeyRow};
use crate::destruction::contents::buckets_of;
use crate::destruction::{Request, RequestedKey, RequestedVersion, Scope};
use crate::error::Error;

/// Buckets that a request names.
const BUCKETS_MAX: usize = 1000;
/// Buckets read at once.
const PAGE: usize = 256;

/// What an approval goes by: asked once more when nothing is committed under the keys any more.
#[derive(Debug)]
pub(in crate::admin) struct Still {
    pub(super) request: Request,
    pub(super) target: Target,
    pub(super) tenant: TenantId,
}

impl Still {
    /// Whether it is as it was.
    pub(in crate::admin) async fn holds(&self, admin: &Admin) -> Result<(), Failure> {
        again(admin, &self.request, &self.target, self.tenant).await
    }
}

/// Keys and buckets as they stand.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub scope: Scope,
    /// For a bucket: the keys that it hangs on, of which the versions that there are now go.
    pub keys: Vec<TenantKeyRow>,
    pub buckets: Vec<String>,
    pub bucket: Option<Bucket>,
}

/// What a request names: a key, a bucket, or all keys.
pub(super) async fn of_call(admin: &Admin, call: &Call<'_>, tenant: TenantId) -> Result<Target, Failure> {
    let named = |field: &str| match call.body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(_) => Err(bad(&format!("{field} is a name"))),
    };
    match (named("key")?, named("bucket")?) {
        (Some(_), Some(_)) => Err(bad("a key or a bucket, not both")),
        (None, Some(bucket)) => of_bucket(admin, tenant, &bucket).await,
        (Some(named), None) => of_keys(admin, Scope::Key, vec![key(admin, call, &named).await?.row]).await,
        (None, None) => {
            let all = keys_of(admin, tenant).await?;
            let all: Vec<_> = all.into_iter().filter(|key| !key.state.is_destroyed()).collect();
            of_keys(admin, Scope::Tenant, all).await
        }
    }
}

/// The same as it stands now.
pub(super) async fn again(admin: &Admin, request: &Request, target: &Target, tenant: TenantId) -> Result<(), Failure> {
    let now = match (&target.bucket, request.scope) {
        (Some(bucket), _) => of_bucket(admin, tenant, bucket.name.as_str()).await?,
        (None, Scope::Tenant) => {
            let all = keys_of(admin, tenant).await?;
            of_keys(admin, Scope::Tenant, all.into_iter().filter(|key| !key.state.is_destroyed()).collect()).await?
        }
        (None, scope) => of_keys(admin, scope, target.keys.clone()).await?,
    };
    // What is approved is what is there: keys and buckets that came since are in no request that was signed.
    let same = now.keys.iter().map(requested).collect::<Vec<_>>() == request.keys && now.buckets == request.buckets;
    let why = "keys, their versions or their buckets are others than when it was asked for: cancel it and ask anew";
    if same { Ok(()) } else { Err(conflict(why)) }
}

async fn of_keys(admin: &Admin, scope: Scope, keys: Vec<TenantKeyRow>) -> Result<Target, Failure> {
    let Some(tenant) = keys.first().map(|key| key.tenant) else {
        return Err(conflict("the tenant has no key that is not destroyed"));
    };
    for key in &keys {
        free(key)?;
    }
    let buckets = buckets(admin, tenant, &keys).await?;
    Ok(Target { scope, keys, buckets, bucket: None })
}

async fn of_bucket(admin: &Admin, tenant: TenantId, named: &str) -> Result<Target, Failure> {
    let missing = || Failure::new(StatusCode::NOT_FOUND, format!("the tenant has no bucket {named:?}"));
    let name: BucketName = named.parse().map_err(|_| bad("not a bucket name"))?;
    let bucket = admin.gateway.control.bucket(&name).await?.filter(|bucket| bucket.tenant == tenant);
    let bucket = bucket.ok_or_else(missing)?;
    if bucket.closed {
        return Err(conflict(format!("the bucket {name} is to be destroyed already")));
    }
    let ever = admin.gateway.keys.ever_hung_on(&bucket).map_err(Error::from)?;
    let mut keys = Vec::new();
    for key in keys_of(admin, tenant).await? {
        // Those that it hung on before, too: older copies of the catalog have its keys under them.
        if ever.contains(&key.id) {
            match key.state {
                // What survives is wrapped anew by it.
                KeyState::Active => keys.push(key),
                KeyState::Suspended { .. } => return Err(conflict(format!("resume the key {} first", key.name))),
                KeyState::PendingDestruction { .. } => free(&key)?,
                KeyState::Destroyed { .. } => {}
            }
        }
    }
    Ok(Target { scope: Scope::Bucket, keys, buckets: vec![name.to_string()], bucket: Some(bucket) })
}

/// Whether a key may be destroyed, as far as it is not being so already.
pub(super) fn free(key: &TenantKeyRow) -> Result<(), Failure> {
    let name = &key.name;
    match key.state {
        KeyState::Active | KeyState::Suspended { .. } => Ok(()),
        KeyState::PendingDestruction { .. } => Err(conflict(format!("the key {name} is to be destroyed already"))),
        KeyState::Destroyed { .. } => Err(conflict(format!("the key {name} was destroyed already"))),
    }
}

async fn buckets(admin: &Admin, tenant: TenantId, keys: &[TenantKeyRow]) -> Result<Vec<String>, Failure> {
    let (mut out, mut after) = (Vec::new(), None::<BucketName>);
    loop {
        let page = admin.gateway.control.buckets(tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(out) };
        after = Some(last.name.clone());
        for bucket in &page {
            let hangs = keys.iter().map(|key| admin.gateway.keys.hangs_on(bucket, key.id));
            if hangs.collect::<Result<Vec<_>, _>>().map_err(Error::from)?.contains(&true) {
                if admin.gateway.keys.moves(bucket).map_err(Error::from)? {
                    let why = format!("the bucket {} is on its way to another key: wait for its rotation", bucket.name);
                    return Err(conflict(why));
                }
                out.push(bucket.name.to_string());
            }
        }
        if out.len() > BUCKETS_MAX {
            return Err(conflict(format!("more than {BUCKETS_MAX} buckets hang on it")));
        }
    }
}

pub(super) fn requested(key: &TenantKeyRow) -> RequestedKey {
    let versions = key.versions.iter().map(|version| RequestedVersion {
        version: version.number,
        fingerprint: version.fingerprint.clone(),
        created: rfc3339(version.created),
    });
    RequestedKey {
        id: key.id.to_string(),
        name: key.name.clone(),
        provider: key.provider.name().to_owned(),
        algorithm: key.suite.name().to_owned(),
        created: rfc3339(key.created),
        versions: versions.collect(),
    }
}

pub(super) fn pending(key: &TenantKeyRow, due: UtcMillis) -> Result<TenantKeyRow, Failure> {
    free(key)?;
    let suspended = match &key.state {
        KeyState::Suspended { since, reason } => Some((*since, reason.clone())),
        KeyState::Active | KeyState::PendingDestruction { .. } | KeyState::Destroyed { .. } => None,
    };
    Ok(TenantKeyRow { state: KeyState::PendingDestruction { due, suspended }, ..key.clone() })
}

/// The buckets that go with keys, each with the keys that it hung on before and that do not go.
pub(super) async fn moved(admin: &Admin, row: &DestructionRow) -> Result<Vec<(BucketName, KeyId)>, Error> {
    let mut out = Vec::new();
    for bucket in buckets_of(&admin.gateway, row).await? {
        let ever = admin.gateway.keys.ever_hung_on(&bucket)?;
        let others = ever.into_iter().filter(|key| !row.keys.contains(key));
        out.extend(others.map(|key| (bucket.name.clone(), key)));
    }
    Ok(out)
}
