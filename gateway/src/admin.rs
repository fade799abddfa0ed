//! The admin address: health, metrics, and the JSON API under `/v1` for tenants, principals,
//! credentials, tenant keys, bucket residency and the access log. Every API request is signed, decided, recorded.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::FutureExt;
use futures::future::Either;
use http::header::{ALLOW, USER_AGENT};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;
use policy::decide::decide;
use policy::operation::{AdminOperation, Operation};
use policy::time::UtcMillis;
use serde_json::{Value, json};
use storage::catalog::rocks::RocksCatalog;
use storage::catalog::{Change, Commit, CommitError};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::accept::{Answer, NO_HOST, names_its_host};
use crate::bootstrap::FirstSecret;
use crate::clock;
use crate::context::{Admitted, RequestContext};
use crate::erasure::Gone;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::{Behind, Suspending};
use crate::seal::key::random;
use crate::stack::{no_record, record_malformed};

mod accesses;
mod accounts;
mod approvals;
mod audit;
mod auth;
mod call;
mod destructions;
mod failure;
mod keys;
mod ledger;
pub mod machines;
mod outcome;
mod persons;
pub mod reseatings;
mod rotations;
mod routes;
pub mod signing;

use audit::chain::Chains;
use auth::Nonces;
use call::{Call, named};
use failure::Failure;
use machines::Revocations;
use outcome::{Outcome, Then};

/// Largest JSON document.
const BODY_MAX: usize = 64 << 10;
/// How long it may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Requests under way; they go on when nobody waits for them any more.
const TASKS_MAX: usize = 1024;

/// Everything behind the admin address.
#[derive(Debug)]
pub struct Admin {
    gateway: Arc<Gateway>,
    catalog: Arc<RocksCatalog>,
    prometheus: PrometheusHandle,
    nonces: Nonces,
    chains: Chains,
    tasks: TaskTracker,
    /// Whoever makes a transport key: that keeps a processor busy, and is counted before.
    importing: Arc<tokio::sync::Mutex<()>>,
    revocations: Revocations,
    first_secret: FirstSecret,
    opened: UtcMillis,
    patience: Duration,
}

/// The address of whoever asks.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

impl Admin {
    /// The admin side of a gateway, which takes requests that were signed at `opened`, a whole second, or later,
    /// and waits for the disk no longer than `patience`.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        catalog: Arc<RocksCatalog>,
        prometheus: PrometheusHandle,
        first_secret: FirstSecret,
        (opened, patience): (UtcMillis, Duration),
    ) -> Arc<Self> {
        let (nonces, chains, tasks) = (Nonces::default(), Chains::default(), TaskTracker::new());
        let importing = Arc::default();
        Arc::new(Self {
            gateway,
            catalog,
            prometheus,
            nonces,
            chains,
            tasks,
            importing,
            revocations: Revocations::default(),
            first_secret,
            opened,
            patience,
        })
    }

    /// Requests under way.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Runs a request to its end and to its record.
    async fn answer(self: Arc<Self>, peer: IpAddr, request: Request<Body>) -> Response {
        let id = random::<8>().map_or_else(|_| "0".repeat(16), hex::encode_upper);
        let agent = request.headers().get(USER_AGENT);
        let context = Arc::new(RequestContext::new(id.clone(), clock::now(), peer, agent));
        let outcome = self.run(request, &context).await;
        let mut allow = None;
        let (status, mut answer, error) = match outcome {
            Ok(answer) => (StatusCode::OK, answer, None),
            Err(failure) => {
                allow = failure.allow;
                (failure.status, json!({ "error": failure.message }), Some(failure.message))
            }
        };
        if context.recorded_status().is_none()
            && let Err(error) = self.record(&context, status, error).await
        {
            no_record(&context, &error);
            return does_not_answer("the access log cannot be written");
        }
        if let (Some(answer), true) = (answer.as_object_mut(), status != StatusCode::OK) {
            answer.insert("request_id".to_owned(), Value::String(id));
        }
        let mut response = (status, Json(answer)).into_response();
        if let Some(methods) = allow.and_then(|methods| methods.parse().ok()) {
            response.headers_mut().insert(ALLOW, methods);
        }
        response
    }

    /// Administration is the platform's matter, whoever asks for it; but keys are their tenant's.
    async fn record(&self, context: &RequestContext, status: StatusCode, error: Option<String>) -> Result<(), Error> {
        if context.account().is_none() {
            return context.record(&self.gateway.recorder, status.as_u16(), error).await;
        }
        let opening = context.opening(status.as_u16(), error);
        self.gateway.recorder.append(context.administered(), context.time, &opening).await?;
        Ok(())
    }

    async fn run(&self, request: Request<Body>, context: &Arc<RequestContext>) -> Result<Value, Failure> {
        if !names_its_host(&request) {
            return Err(Failure::new(StatusCode::BAD_REQUEST, NO_HOST));
        }
        let (parts, body) = request.into_parts();
        let body = timeout(BODY_TIME, axum::body::to_bytes(body, BODY_MAX))
            .await
            .map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?
            .map_err(|_| Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"))?;
        let whole = parts.uri.path();
        let path = whole.strip_prefix("/v1/").unwrap_or_default();
        let path: Vec<String> = path.split('/').map(signing::unescape).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let operation = routes::route(&parts.method, &path).ok_or_else(|| routes::no_route(whole, &path))?;
        context.named(operation.name(), None, None);
        context.administers(operation);
        let account = auth::authenticate(self, &parts, &body, context).await?;
        let permit = decide(&policy::decide::Request {
            operation: Operation::Admin(operation),
            actor: Some(&account.actor),
            bucket: None,
            source: None,
            expected_owner: None,
            expected_source_owner: None,
            tenant_residency: None,
            places: &[],
            access: None,
        })
        .map_err(|denial| {
            context.denied(&denial);
            Failure::new(
                StatusCode::FORBIDDEN,
                if denial.told_to_caller() { denial.message() } else { "access denied".to_owned() },
            )
        })?;
        let (tenant, principal, access_key) = (permit.tenant(), account.actor.principal, account.access_key.clone());
        context.permitted(Admitted { permit, account, bucket: None, source: None });
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)
                .map_err(|e| Failure::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {e}")))?
        };
        if !(body.is_object() || body.is_null()) {
            return Err(Failure::new(StatusCode::BAD_REQUEST, "the body is a JSON object, or there is none"));
        }
        let call =
            Call { path, query: parts.uri.query().unwrap_or(""), body, tenant, principal, access_key: &access_key };
        // Who replaces the root key waits for all others, and cannot be among them.
        let _administering = match operation {
            AdminOperation::RootReplace => None,
            _ => Some(self.gateway.keys.administering().await),
        };
        let outcome = self.perform(operation, &call).await.inspect_err(|failure| {
            if let Some(denial) = &failure.denial {
                context.denied(denial);
            }
            if let Some(tenant) = failure.log {
                context.concerns(tenant);
            }
        })?;
        self.commit(outcome, context).await
    }

    async fn perform(&self, operation: AdminOperation, call: &Call<'_>) -> Result<Outcome, Failure> {
        match operation {
            AdminOperation::TenantCreate => accounts::create_tenant(self, call),
            AdminOperation::TenantList => accounts::list_tenants(self).await,
            AdminOperation::TenantInvite => persons::invite_first(self, call).await,
            AdminOperation::TenantReseat => reseatings::request(self, call).await,
            AdminOperation::TenantReseatSign => reseatings::sign(self, call).await,
            AdminOperation::TenantReseatCancel => reseatings::cancel(self, call).await,
            AdminOperation::TenantReseatInvite => reseatings::invite(self, call).await,
            AdminOperation::TenantReseatList => reseatings::list(self, call).await,
            AdminOperation::TenantReseatShow => reseatings::show(self, call).await,
            AdminOperation::Enrol => persons::enrol(self, call).await,
            AdminOperation::PrincipalCreate => persons::create(self, call).await,
            AdminOperation::PrincipalList => persons::list(self, call).await,
            AdminOperation::PrincipalDisable => persons::disable(self, call).await,
            AdminOperation::CredentialCreate => persons::create_credential(self, call).await,
            AdminOperation::CredentialList => persons::list_credentials(self, call).await,
            AdminOperation::CredentialRevoke => persons::revoke_credential(self, call).await,
            AdminOperation::BucketResidency => accounts::narrow_bucket(self, call).await,
            AdminOperation::AuditList => audit::list(self, call).await,
            AdminOperation::KeyCreate => keys::create(self, call).await,
            AdminOperation::KeyList => keys::list(self, call).await,
            AdminOperation::KeyShow => keys::show(self, call).await,
            AdminOperation::KeyRotate => keys::rotate(self, call).await,
            AdminOperation::KeySuspend => keys::suspend(self, call).await,
            AdminOperation::KeyResume => keys::resume(self, call).await,
            AdminOperation::KeyDefault => keys::make_default(self, call).await,
            AdminOperation::KeySchedule => keys::schedule(self, call).await,
            AdminOperation::KeyPolicy => keys::uses::refuse(self, call).await,
            AdminOperation::KeyAlias => keys::uses::alias(self, call).await,
            AdminOperation::KeyUnalias => keys::uses::unalias(self, call).await,
            AdminOperation::KeyAliasList => keys::uses::list(self, call).await,
            AdminOperation::KeyLedger => ledger::list(self, call).await,
            AdminOperation::KeyRotateBucket => rotations::begin(self, call).await,
            AdminOperation::KeyRotationList => rotations::list(self, call).await,
            AdminOperation::ApproverEnrol => approvals::enrol(self, call).await,
            AdminOperation::KeyDestroy => destructions::request(self, call).await,
            AdminOperation::KeyDestroySign => destructions::sign(self, call).await,
            AdminOperation::KeyDestroyCancel => destructions::cancel(self, call).await,
            AdminOperation::KeyDestructionList => destructions::list(self, call).await,
            AdminOperation::KeyDestructionShow => destructions::show(self, call).await,
            AdminOperation::AccessRequest => accesses::request(self, call).await,
            AdminOperation::AccessSign => accesses::sign(self, call).await,
            AdminOperation::AccessEnd => accesses::end(self, call).await,
            AdminOperation::AccessList => accesses::list(self, call).await,
            AdminOperation::AccessShow => accesses::show(self, call).await,
            AdminOperation::KeyImportBegin => keys::import::begin(self, call).await,
            AdminOperation::RootReplace => replace_root(self).await,
            AdminOperation::MachineInvite => machines::invite(self, call).await,
            AdminOperation::MachineSign => machines::sign(self, call).await,
            AdminOperation::MachineRevoke => machines::revoke(self, call).await,
            AdminOperation::MachineList => machines::list(self).await,
            AdminOperation::MachineShow => machines::show(self, call).await,
            AdminOperation::CertificateIssue => machines::issue(self, call).await,
        }
    }

    /// The change and the record of the request that asked for it are one commit.
    async fn commit(&self, outcome: Outcome, context: &RequestContext) -> Result<Value, Failure> {
        if let Some((key, version)) = outcome.key {
            context.manages(Some((key, version)), outcome.bucket.as_ref(), outcome.subject.as_deref());
        } else if outcome.bucket.is_some() || outcome.subject.is_some() {
            context.manages(None, outcome.bucket.as_ref(), outcome.subject.as_deref());
        }
        if let Some(tenant) = outcome.log {
            context.concerns(tenant);
        }
        if outcome.rows.is_empty() && outcome.buckets.is_empty() {
            return Ok(outcome.answer);
        }
        let change = Change::PutControl { rows: outcome.rows, buckets: outcome.buckets };
        let record =
            self.gateway.recorder.seal(context.administered(), context.time, &context.opening(200, None)).await?;
        let mut gates = match &outcome.then {
            Then::Close(gates) => gates.clone(),
            Then::Refuse(key, _) => vec![Behind::Key(*key)],
            Then::Nothing | Then::ForgetAccounts | Then::Rewrap { .. } => Vec::new(),
        };
        gates.sort();
        let mut suspending = Vec::new();
        for gate in gates {
            suspending.push(self.gateway.keys.suspending(gate).await);
        }
        if let Some(still) = &outcome.still {
            still.holds(self).await?;
        }
        let committed = self.gateway.catalog.commit(Commit { change, record: Some(record) }).await;
        drop(outcome.turn);
        if let (Err(CommitError::Refused(_)), Some(made)) = (&committed, &outcome.made) {
            self.gateway.keys.unmake(made).await;
        }
        committed.map_err(Error::from)?;
        context.recorded(200);
        match outcome.then {
            Then::ForgetAccounts => self.gateway.identities.forget(),
            Then::Rewrap { .. } => self.gateway.rewrapper.tell(),
            Then::Close(_) => suspending.into_iter().for_each(Suspending::done),
            Then::Refuse(_, refused) => {
                suspending.into_iter().for_each(|gate| gate.refusing(refused));
                // A rotation may have waited for it.
                self.gateway.rewrapper.tell();
            }
            Then::Nothing => {}
        }
        Ok(outcome.answer)
    }
}

/// Another root key takes the place of the one in use. All that it wraps is wrapped by the new one; no tenant key changes.
async fn replace_root(admin: &Admin) -> Result<Outcome, Failure> {
    let round = crate::erasure::replace_root(&admin.gateway, &Gone::default(), |_| Ok(Vec::new())).await?;
    let (before, after) = (round.before.to_string(), round.after.to_string());
    Ok(Outcome::answer(json!({ "before": before, "after": after, "at": clock::rfc3339(round.at) })))
}

/// The admin side as a listener serves it.
#[derive(Debug, Clone)]
pub struct Routes {
    admin: Arc<Admin>,
    router: Router,
}

impl Routes {
    /// Health, metrics and API. Whatever is none of them is on record as a request of the API that is refused.
    #[must_use]
    pub fn new(admin: &Arc<Admin>) -> Self {
        Self { admin: Arc::clone(admin), router: routes::router(admin) }
    }

    /// Returns when requests can have been signed late enough.
    pub async fn opened(&self) {
        tokio::time::sleep(Duration::from_millis(self.admin.opened.0.saturating_sub(clock::now().0))).await;
    }
}

impl Answer for Routes {
    type Body = Body;

    /// Answers a request through the routes. It is begun at once, for hyper drops an answer unpolled when it finds
    /// the peer gone, and runs to its end: a caller that goes away stops neither a commit nor what follows from it.
    fn respond(self, request: Request<Incoming>, peer: IpAddr) -> impl Future<Output = Response> + Send + 'static {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let crowded = self.admin.tasks.len() >= TASKS_MAX;
        let answer = match names_its_host(&request) {
            true => Either::Left(self.router.clone().oneshot(request)),
            false => Either::Right(Arc::clone(&self.admin).answer(peer, request).map(Ok)),
        };
        let task = (!crowded).then(|| self.admin.tasks.spawn(answer));
        let patience = BODY_TIME + self.admin.patience;
        async move {
            let Some(task) = task else { return does_not_answer("too many requests are under way") };
            match timeout(patience, task).await {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(error)) => {
                    tracing::error!(%error, "an admin request ended in a panic");
                    metrics::counter!("gotgan_panics_total").increment(1);
                    let answer = Json(json!({ "error": "the server failed; its log says why" }));
                    (StatusCode::INTERNAL_SERVER_ERROR, answer).into_response()
                }
                Err(_) => does_not_answer("the store does not answer in time"),
            }
        }
    }

    fn malformed(&self, status: StatusCode, peer: IpAddr) {
        self.admin.tasks.spawn(record_malformed(Arc::clone(&self.admin.gateway), status, peer));
    }
}

fn does_not_answer(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": why }))).into_response()
}
