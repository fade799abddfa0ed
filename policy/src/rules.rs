//! The built-in rules, as a table: id, meaning, citation. Documents and tests print it.

use std::fmt;

/// Names a rule in decisions, records and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(&'static str);

impl RuleId {
    /// Its text.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The text of law or the standard that a rule carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Citation(&'static str);

impl Citation {
    /// Its text.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Citation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A rule of the built-in floor. Nothing configured can undo one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// What it says.
    pub meaning: &'static str,
    /// What it carries out.
    pub citation: Option<Citation>,
    /// First day that the cited text is in force, ISO 8601.
    pub effective_from: Option<&'static str>,
}

const SAFETY_5: Citation = Citation("Safety-Measures Standard (PIPC Notice 2026-9) Art. 5");
const SAFETY_7: Citation = Citation("Safety-Measures Standard (PIPC Notice 2026-9) Art. 7(6)");
const TRANSFER: Citation = Citation("PIPA Art. 28-8(1)");

macro_rules! rules {
    ($($name:ident = $id:literal, $meaning:literal, $citation:expr, $from:expr;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: Rule = Rule { id: RuleId($id), meaning: $meaning, citation: $citation, effective_from: $from };
        )*
        /// Every rule.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    IDENTITY = "identity.required", "Only an authenticated, active principal is served", Some(SAFETY_5), Some("2026-07-01");
    TENANT = "tenant.own-bucket", "A principal reaches only its own tenant's buckets", Some(SAFETY_5), Some("2026-07-01");
    TENANT_REQUIRED = "tenant.required", "Objects are reached by principals of a tenant, not of the platform", Some(SAFETY_5), Some("2026-07-01");
    ADMIN_ROLE = "admin.role", "The admin API is for platform administrators, certificates are for machines, the persons of a tenant are for its administrators, and its log for its compliance officers and auditors", Some(SAFETY_5), Some("2026-07-01");
    OBJECT_ROLE = "object.role", "Objects are reached by engineers of the tenant, not by who manages its keys or reads its log", Some(SAFETY_5), Some("2026-07-01");
    KEY_ROLE = "key.role", "A tenant's keys are managed by its key administrators and watched by its compliance officers and auditors, not by the platform or by who uses them", Some(SAFETY_7), Some("2026-07-01");
    KEY_REASON = "key.reason", "A tenant key opens nothing for a reason that its policy refuses", Some(SAFETY_7), Some("2026-07-01");
    OWN_PERSONS = "tenant.own-persons", "Principals and credentials of a tenant that has an administrator are made by the tenant", Some(SAFETY_5), Some("2026-07-01");
    TWO_PERSONS = "access.two-persons", "The platform opens only what two of its persons approved, for as long and to read, in the tenant's own log", Some(SAFETY_5), Some("2026-07-01");
    OWNER = "owner.expected", "The bucket belongs to the owner that the request expects", None, None;
    KOREA = "residency.korea", "Data rests only on nodes whose verified identity says the Republic of Korea", Some(TRANSFER), Some("2023-09-15");
    UNKNOWN_PLACE = "residency.unknown-place", "A node whose identity does not say where it stands keeps no data", Some(TRANSFER), Some("2023-09-15");
    NARROWING = "residency.bucket-narrowing", "Data of a bucket rests only where the bucket's residency admits it", Some(TRANSFER), Some("2023-09-15");
    NOWHERE = "residency.no-node", "Data needs a node to rest on", Some(TRANSFER), Some("2023-09-15");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_ids_are_unique() {
        let ids: std::collections::BTreeSet<_> = RULES.iter().map(|r| r.id).collect();
        assert_eq!(ids.len(), RULES.len());
        assert!(RULES.iter().all(|r| r.citation.is_some() == r.effective_from.is_some()));
    }
}
