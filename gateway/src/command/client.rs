//! Calls to the admin API, signed.

use std::path::PathBuf;
use std::time::Duration;

use http::{Request, Uri};
use http_body_util::Full;
use serde_json::Value;

use super::{ADMIN_ACCESS_KEY, ADMIN_SECRET_KEY, CommandError, Reach};
use crate::admin::signing::{self, NONCE, Signed};
use crate::bootstrap::Bootstrap;
use crate::clock;
use crate::https::{self, HttpError};
use crate::seal::key::random;

const DEADLINE: Duration = Duration::from_secs(60);
const ANSWER_MAX: usize = 64 << 20;

/// A client of one server.
pub(super) struct Client {
    bootstrap: Bootstrap,
    ca: Option<PathBuf>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub(super) fn new(reach: &Reach) -> Result<Self, CommandError> {
        let path = match (&reach.bootstrap, &reach.data) {
            (Some(file), _) => file.clone(),
            (None, Some(dir)) => dir.join("bootstrap.json"),
            (None, None) => return Err(CommandError("name the server: --data DIR, or --bootstrap FILE".to_owned())),
        };
        let text = std::fs::read(&path).map_err(|e| CommandError(format!("{}: {e}", path.display())))?;
        let mut bootstrap: Bootstrap =
            serde_json::from_slice(&text).map_err(|e| CommandError(format!("{}: {e}", path.display())))?;
        if let Some(access_key) = &reach.access_key_id {
            access_key.clone_into(&mut bootstrap.admin_access_key_id);
            bootstrap.admin_secret_access_key = std::env::var(ADMIN_SECRET_KEY)
                .map_err(|_| CommandError(format!("the secret of {access_key} is to be in {ADMIN_SECRET_KEY}")))?;
        }
        if bootstrap.admin_access_key_id.is_empty() {
            return Err(CommandError(format!(
                "{} holds no administrator: give one that does by --bootstrap FILE, or {ADMIN_ACCESS_KEY} and {ADMIN_SECRET_KEY}",
                path.display()
            )));
        }
        let ca = reach.ca.clone().or_else(|| reach.data.as_ref().map(|d| d.join("certs/ca.pem")));
        Self::of(bootstrap, ca)
    }

    /// A client of the server that `bootstrap` names, as its administrator.
    pub(super) fn of(bootstrap: Bootstrap, ca: Option<PathBuf>) -> Result<Self, CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::new)?;
        Ok(Self { bootstrap, ca, runtime })
    }

    /// Where the server is, and its region.
    pub(super) fn server(&self) -> (&str, &str) {
        (&self.bootstrap.admin_endpoint, &self.bootstrap.region)
    }

    /// A page that is open to whoever reaches the server.
    pub(super) fn page(&self, path: &str) -> Result<String, CommandError> {
        let (status, bytes) = self.waited(self.sent("GET", path, None))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(CommandError::new)?;
        if status.is_success() { Ok(text) } else { Err(CommandError(format!("{} ({status})", text.trim()))) }
    }

    pub(super) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, CommandError> {
        let pairs: Vec<String> = query.iter().map(|(k, v)| format!("{k}={}", signing::escape(v))).collect();
        self.call("GET", &format!("{path}?{}", pairs.join("&")), None)
    }

    pub(super) fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, CommandError> {
        self.call(method, path, Some(body))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, CommandError> {
        let (status, bytes) = self.waited(self.sent(method, path, body))?;
        let answer: Value = serde_json::from_slice(&bytes)
            .map_err(|_| CommandError(format!("the server answered {status} without JSON")))?;
        if status.is_success() {
            return Ok(answer);
        }
        let why = answer.get("error").and_then(Value::as_str).unwrap_or("no reason given");
        Err(CommandError(format!("{why} ({status})")))
    }

    fn waited<T>(&self, answer: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
        self.runtime.block_on(async {
            let call = tokio::time::timeout(DEADLINE, answer).await;
            call.map_err(|_| CommandError("the server did not answer in time".to_owned()))?
        })
    }

    async fn sent(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(http::StatusCode, bytes::Bytes), CommandError> {
        let endpoint = &self.bootstrap.admin_endpoint;
        let host = endpoint.split("://").nth(1).ok_or_else(|| CommandError("admin_endpoint is no URL".to_owned()))?;
        let request = self.request(method, path, host.trim_end_matches('/'), body)?;
        let sent = https::send(endpoint, self.ca.as_deref(), request, ANSWER_MAX).await;
        sent.map_err(|error| match error {
            HttpError::NoCa => CommandError("the server uses TLS: give its CA certificate by --ca FILE".to_owned()),
            other => CommandError::new(other),
        })
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        host: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<bytes::Bytes>>, CommandError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let uri: Uri = path.parse().map_err(CommandError::new)?;
        let (date, digest) = (signing::date(clock::now()), signing::sha256_hex(body.as_bytes()));
        let nonce = hex::encode(random::<16>().map_err(CommandError::new)?);
        let signed = Signed { method, uri: &uri, host, date: &date, nonce: &nonce, body: &digest };
        let b = &self.bootstrap;
        let authorization = signed.authorization(&b.admin_access_key_id, &b.admin_secret_access_key, &b.region);
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .header("user-agent", concat!("gotgan/", env!("CARGO_PKG_VERSION")))
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", &digest)
            .header(NONCE, &nonce)
            .header("authorization", authorization)
            .body(Full::from(body))
            .map_err(CommandError::new)
    }
}
