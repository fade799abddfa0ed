//! Names of what records know by id, looked up once for a page.

use std::collections::HashMap;

use super::{Admin, Failure};
use crate::control::{ControlRow, PrincipalRow, TenantKeyRow, TenantRow};

/// A row that has a name.
pub(in crate::admin) trait Named: ControlRow {
    fn name(self) -> String;
}

impl Named for TenantRow {
    fn name(self) -> String {
        self.name
    }
}

impl Named for TenantKeyRow {
    fn name(self) -> String {
        self.name
    }
}

impl Named for PrincipalRow {
    fn name(self) -> String {
        self.name
    }
}

/// Names by id. Ids are random, so those of all kinds stand together.
#[derive(Default)]
pub(in crate::admin) struct Names(HashMap<String, String>);

impl Names {
    /// The name of an id, or the id where there is no such row.
    pub(in crate::admin) async fn of<R: Named>(&mut self, admin: &Admin, id: &str) -> Result<String, Failure> {
        if let Some(name) = self.0.get(id) {
            return Ok(name.clone());
        }
        let row = match hex::decode(id) {
            Ok(bytes) => admin.gateway.control.row::<R>(&bytes).await?,
            Err(_) => None,
        };
        let name = row.map_or_else(|| id.to_owned(), Named::name);
        self.0.insert(id.to_owned(), name.clone());
        Ok(name)
    }
}
