//! What there is on the admin address: resources of the API, and the pages that are open to whoever reaches it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use policy::operation::AdminOperation;

use super::{Admin, Failure, Peer};
use crate::clock;
use crate::fold::{Folds, Kind};

/// Methods that resources have.
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
/// What the API is, for whoever writes a client of it.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// What is open to whoever reaches the address, by GET.
const OPEN: [&str; 6] = ["/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/v1/ca", "/v1/revocations"];

pub(super) fn no_route(whole: &str, path: &[&str]) -> Failure {
    let known = METHODS.iter().filter(|method| route(method, path).is_some()).map(Method::as_str);
    let known: Vec<&str> = if OPEN.contains(&whole) { vec!["GET", "HEAD"] } else { known.collect() };
    if known.is_empty() {
        return Failure::new(StatusCode::NOT_FOUND, "no such resource");
    }
    let allow = known.join(", ");
    Failure { allow: Some(allow.clone()), ..Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("it takes {allow}")) }
}

/// Health, metrics, the API and its document. Whatever is none of them is on record as a request of the API that is refused.
pub(super) fn router(admin: &Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(healthy).fallback(api))
        .route("/readyz", get(ready).fallback(api))
        .route("/metrics", get(metrics_page).fallback(api))
        .route("/v1/openapi.json", get(document).fallback(api))
        .route("/v1/ca", get(ca).fallback(api))
        .route("/v1/revocations", get(revocations).fallback(api))
        .fallback(api)
        .with_state(Arc::clone(admin))
}

pub(super) fn route(method: &Method, path: &[&str]) -> Option<AdminOperation> {
    match (method.as_str(), path) {
        ("GET", ["tenants"]) => Some(AdminOperation::TenantList),
        ("POST", ["tenants"]) => Some(AdminOperation::TenantCreate),
        ("POST", ["tenants", _, "invite"]) => Some(AdminOperation::TenantInvite),
        ("POST", ["reseatings"]) => Some(AdminOperation::TenantReseat),
        ("GET", ["reseatings"]) => Some(AdminOperation::TenantReseatList),
        ("GET", ["reseatings", _]) => Some(AdminOperation::TenantReseatShow),
        ("POST", ["reseatings", _, "sign"]) => Some(AdminOperation::TenantReseatSign),
        ("POST", ["reseatings", _, "cancel"]) => Some(AdminOperation::TenantReseatCancel),
        ("POST", ["reseatings", _, "invite"]) => Some(AdminOperation::TenantReseatInvite),
        ("POST", ["enrol"]) => Some(AdminOperation::Enrol),
        ("GET", ["principals"]) => Some(AdminOperation::PrincipalList),
        ("POST", ["principals"]) => Some(AdminOperation::PrincipalCreate),
        ("POST", ["principals", _, "disable"]) => Some(AdminOperation::PrincipalDisable),
        ("GET", ["credentials"]) => Some(AdminOperation::CredentialList),
        ("POST", ["credentials"]) => Some(AdminOperation::CredentialCreate),
        ("POST", ["credentials", _, "revoke"]) => Some(AdminOperation::CredentialRevoke),
        ("PUT", ["buckets", _, "residency"]) => Some(AdminOperation::BucketResidency),
        ("GET", ["audit"]) => Some(AdminOperation::AuditList),
        ("GET", ["keys"]) => Some(AdminOperation::KeyList),
        ("POST", ["keys"]) => Some(AdminOperation::KeyCreate),
        ("GET", ["ledger"]) => Some(AdminOperation::KeyLedger),
        ("PUT", ["approver"]) => Some(AdminOperation::ApproverEnrol),
        ("POST", ["destructions"]) => Some(AdminOperation::KeyDestroy),
        ("GET", ["destructions"]) => Some(AdminOperation::KeyDestructionList),
        ("GET", ["destructions", _]) => Some(AdminOperation::KeyDestructionShow),
        ("POST", ["destructions", _, "sign"]) => Some(AdminOperation::KeyDestroySign),
        ("POST", ["destructions", _, "cancel"]) => Some(AdminOperation::KeyDestroyCancel),
        ("POST", ["accesses"]) => Some(AdminOperation::AccessRequest),
        ("GET", ["accesses"]) => Some(AdminOperation::AccessList),
        ("GET", ["accesses", _]) => Some(AdminOperation::AccessShow),
        ("POST", ["accesses", _, "sign"]) => Some(AdminOperation::AccessSign),
        ("POST", ["accesses", _, "end"]) => Some(AdminOperation::AccessEnd),
        ("POST", ["import"]) => Some(AdminOperation::KeyImportBegin),
        ("POST", ["machines"]) => Some(AdminOperation::MachineInvite),
        ("GET", ["machines"]) => Some(AdminOperation::MachineList),
        ("GET", ["machines", _]) => Some(AdminOperation::MachineShow),
        ("POST", ["machines", _, "sign"]) => Some(AdminOperation::MachineSign),
        ("POST", ["machines", _, "revoke"]) => Some(AdminOperation::MachineRevoke),
        ("POST", ["certificates"]) => Some(AdminOperation::CertificateIssue),
        ("POST", ["root", "replace"]) => Some(AdminOperation::RootReplace),
        ("GET", ["rotations"]) => Some(AdminOperation::KeyRotationList),
        ("POST", ["buckets", _, "rotate"]) => Some(AdminOperation::KeyRotateBucket),
        ("GET", ["keys", _]) => Some(AdminOperation::KeyShow),
        ("PUT", ["keys", _, "policy"]) => Some(AdminOperation::KeyPolicy),
        ("PUT", ["keys", _, "aliases", _]) => Some(AdminOperation::KeyAlias),
        ("DELETE", ["keys", _, "aliases", _]) => Some(AdminOperation::KeyUnalias),
        ("GET", ["aliases"]) => Some(AdminOperation::KeyAliasList),
        ("POST", ["keys", _, "rotate"]) => Some(AdminOperation::KeyRotate),
        ("POST", ["keys", _, "schedule"]) => Some(AdminOperation::KeySchedule),
        ("POST", ["keys", _, "suspend"]) => Some(AdminOperation::KeySuspend),
        ("POST", ["keys", _, "resume"]) => Some(AdminOperation::KeyResume),
        ("POST", ["keys", _, "default"]) => Some(AdminOperation::KeyDefault),
        _ => None,
    }
}

async fn document(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> Response {
    count_health(&admin, peer, "/v1/openapi.json");
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

/// The root's certificate (PEM): what machines and clients believe.
async fn ca(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> Response {
    count_health(&admin, peer, "/v1/ca");
    pem(super::machines::anchors(&admin).await)
}

/// The list of certificates that count no longer (PEM).
async fn revocations(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> Response {
    count_health(&admin, peer, "/v1/revocations");
    pem(super::machines::revocations(&admin).await)
}

fn pem(found: Result<String, crate::error::Error>) -> Response {
    match found {
        Ok(text) => ([(CONTENT_TYPE, "application/x-pem-file")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the CA does not answer");
            let answer =
                axum::Json(serde_json::json!({ "error": "the CA does not answer; the server's log says why" }));
            (StatusCode::SERVICE_UNAVAILABLE, answer).into_response()
        }
    }
}

async fn api(
    State(admin): State<Arc<Admin>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    admin.answer(peer, request).await
}

/// Counted into one record per source and minute: nothing of anybody is in the answer, and it must come when the
/// log cannot be written.
fn count_health(admin: &Admin, peer: IpAddr, path: &str) {
    let _written = Folds::take(&admin.gateway.recorder, (Kind::Health, peer), clock::now(), path.as_bytes());
}

async fn healthy(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> &'static str {
    count_health(&admin, peer, "/healthz");
    "ok\n"
}

async fn ready(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> Response {
    count_health(&admin, peer, "/readyz");
    let catalog = admin.gateway.catalog.health().map_err(|why| format!("catalog: {why}"));
    let store = admin.gateway.chunks.health().map_err(|why| format!("store: {why}"));
    match catalog.and(store) {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

async fn metrics_page(State(admin): State<Arc<Admin>>, Extension(Peer(peer)): Extension<Peer>) -> String {
    count_health(&admin, peer, "/metrics");
    let (commits, batches) = admin.catalog.counters();
    metrics::counter!("gotgan_commits_total").absolute(commits);
    metrics::counter!("gotgan_commit_batches_total").absolute(batches);
    let (size, live) = admin.gateway.chunks.usage();
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; bytes below 2^53 are exact")]
    for (kind, bytes) in [("written", size), ("live", live)] {
        metrics::gauge!("gotgan_segment_bytes", "kind" => kind).set(bytes as f64);
    }
    admin.prometheus.render()
}

#[cfg(test)]
mod tests {
    use policy::principal::Role;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_says_what_the_routes_do_and_for_whom() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut known = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            if OPEN.contains(&path.as_str()) {
                continue;
            }
            let path: Vec<&str> = path.strip_prefix("/v1/").unwrap().split('/').collect();
            for (method, operation) in methods.as_object().unwrap() {
                let method: Method = method.to_uppercase().parse().unwrap();
                let routed = route(&method, &path).unwrap_or_else(|| panic!("{method} {path:?}"));
                assert_eq!(routed.name(), format!("admin:{}", operation["operationId"].as_str().unwrap()));
                let roles: Vec<&str> = routed.roles().iter().copied().map(Role::name).collect();
                assert_eq!(operation["x-roles"], serde_json::json!(roles), "{}", routed.name());
                known += 1;
            }
        }
        assert_eq!(known, AdminOperation::ALL.len(), "and nothing is left out");
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let failure = no_route("/v1/keys", &["keys"]);
        assert_eq!((failure.status, failure.allow.as_deref()), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, POST")));
        assert_eq!(no_route("/healthz", &[""]).allow.as_deref(), Some("GET, HEAD"));
        assert_eq!(no_route("/v1/nothing", &["nothing"]).status, StatusCode::NOT_FOUND);
    }
}
