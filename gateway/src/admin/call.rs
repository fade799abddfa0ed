//! One call of the admin API.

use http::StatusCode;
use policy::id::{AccessKeyId, PrincipalId, TenantId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Failure, signing};

/// One call: the path behind `/v1/`, the query and the JSON body, and for which tenant it is permitted.
pub(super) struct Call<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) query: &'a str,
    pub(super) body: Value,
    pub(super) tenant: Option<TenantId>,
    pub(super) principal: PrincipalId,
    pub(super) access_key: &'a AccessKeyId,
}

/// A value that is a text which stands for something. No other shape is taken for it.
pub(super) fn named<T: DeserializeOwned>(value: &Value) -> Option<T> {
    value.is_string().then(|| serde_json::from_value(value.clone()).ok()).flatten()
}

impl Call<'_> {
    pub(super) fn text(&self, field: &str) -> Result<&str, Failure> {
        let text = self.body.get(field).and_then(Value::as_str);
        text.ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, format!("the field {field:?} is missing or no text")))
    }

    pub(super) fn query(&self, name: &str) -> Option<String> {
        signing::query_pairs(self.query).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}
