//! Configuration: defaults, then a TOML file, then `GOTGAN_*` environment variables, then flags.
//! A key that is not known is an error.

mod providers;
mod sections;

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use sections::{Danger, Hyok, Keys, Limits, Listen, Log, Node, Openbao, Pkcs11, Root, Tls};

/// The whole configuration. An empty text means "not set".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Data directory.
    pub data: String,
    /// Region name that clients see. It never chooses a place.
    pub region: String,
    /// Addresses.
    pub listen: Listen,
    /// TLS files; without them the own CA signs a certificate.
    pub tls: Tls,
    /// Where this node stands.
    pub node: Node,
    /// The root key.
    pub root: Root,
    /// Tenant keys.
    pub keys: Keys,
    /// A key provider: the Transit engine of an OpenBao or Vault server.
    pub openbao: Openbao,
    /// A key provider: a token of a hardware security module.
    pub pkcs11: Pkcs11,
    /// Key providers that belong to tenants.
    pub hyok: Hyok,
    /// Bounds.
    pub limits: Limits,
    /// What the server says on standard error.
    pub log: Log,
    /// Switches that weaken a promise.
    pub danger: Danger,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: String::new(),
            region: "kr-gyeonggi-1".to_owned(),
            listen: Listen::default(),
            tls: Tls::default(),
            node: Node::default(),
            root: Root::default(),
            keys: Keys::default(),
            openbao: Openbao::default(),
            pkcs11: Pkcs11::default(),
            hyok: Hyok::default(),
            limits: Limits::default(),
            log: Log::default(),
            danger: Danger::default(),
        }
    }
}

/// Variables of building, testing and other commands; the server does not look at them.
const TOOLS: &[&str] = &[
    "GOTGAN_CACHE",
    "GOTGAN_BIN",
    "GOTGAN_SEED",
    "GOTGAN_TOOLS",
    "GOTGAN_WRITE_DOCS",
    "GOTGAN_ADMIN_ACCESS_KEY_ID",
    "GOTGAN_ADMIN_SECRET_ACCESS_KEY",
];

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key is unknown or a value has the wrong shape.
    #[error("configuration {from}: {why}")]
    Malformed {
        /// File or variable.
        from: String,
        /// What is wrong.
        why: String,
    },
}

impl Config {
    /// Reads file and environment over the defaults, and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`] names the key or variable.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        Self::merge(file, environment)?.checked()
    }

    /// As [`Self::load`], for somebody who changes it further and then calls [`Self::checked`].
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn merge(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Self::merge_text("", "", environment) };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::merge_text(&text, &path.display().to_string(), environment)
    }

    /// As [`Self::load`], with the text of a file, called `from` in errors.
    ///
    /// # Errors
    /// [`ConfigError`] names the key or variable.
    pub fn parse(
        text: &str,
        from: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::merge_text(text, from, environment)?.checked()
    }

    fn merge_text(
        text: &str,
        from: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = read(text, from)?;
        let known = known();
        for (name, text) in environment {
            if !name.starts_with("GOTGAN_") || TOOLS.contains(&name.as_str()) {
                continue;
            }
            let Some((section, key, kind)) = known.iter().find(|(section, key, _)| variable(section, key) == name)
            else {
                return Err(ConfigError::Malformed {
                    from: name,
                    why: "there is no such key; `gotgan config print --variables` lists them".to_owned(),
                });
            };
            let value = typed(kind, &text).ok_or_else(|| ConfigError::Malformed {
                from: name,
                why: format!("{text:?} is not a {}", kind.type_str()),
            })?;
            put(&mut table, section, key, value);
        }
        Value::Table(table).try_into().map_err(|e: toml::de::Error| ConfigError::Malformed {
            from: "values".to_owned(),
            why: e.message().to_owned(),
        })
    }

    /// What types cannot say: each value can be used, alone and with the others.
    ///
    /// # Errors
    /// `Malformed` names the key.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let refuse = |from: &str, why: String| Err(ConfigError::Malformed { from: from.to_owned(), why });
        for (key, address) in [("listen.s3", &self.listen.s3), ("listen.admin", &self.listen.admin)] {
            let good =
                address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !good {
                return refuse(key, format!("{address:?} is not ADDRESS:PORT"));
            }
        }
        if self.tls.certificate.is_empty() != self.tls.key.is_empty() {
            return refuse("tls", "certificate and key belong together: give both or neither".to_owned());
        }
        if self.region.is_empty()
            || !self.region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return refuse("region", format!("{:?} is not a region name such as kr-gyeonggi-1", self.region));
        }
        if self.limits.connections == 0 {
            return refuse("limits.connections", "0 would serve nobody".to_owned());
        }
        let Limits { first_request_seconds, idle_seconds, stall_seconds, .. } = self.limits;
        for (key, seconds) in [
            ("limits.first_request_seconds", first_request_seconds),
            ("limits.idle_seconds", idle_seconds),
            ("limits.stall_seconds", stall_seconds),
        ] {
            if !(1..=86_400).contains(&seconds) {
                return refuse(key, format!("{seconds} is not between a second and a day"));
            }
        }
        if !(1..=300).contains(&self.keys.cache_seconds) {
            return refuse("keys.cache_seconds", format!("{} is not between 1 and 300", self.keys.cache_seconds));
        }
        if self.keys.rewrap_per_second == 0 {
            return refuse("keys.rewrap_per_second", "0 would never end".to_owned());
        }
        if let Err(why) = self.openbao.options() {
            return refuse("openbao", why);
        }
        if let Err(why) = self.pkcs11.options() {
            return refuse("pkcs11", why);
        }
        if !["text", "json"].contains(&self.log.format.as_str()) {
            return refuse("log.format", format!("{:?} is neither text nor json", self.log.format));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            return refuse("log.filter", error.to_string());
        }
        Ok(self)
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// `Malformed` when it cannot be written.
    pub fn print(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self)
            .map_err(|e| ConfigError::Malformed { from: "values".to_owned(), why: e.to_string() })
    }

    /// The data directory.
    ///
    /// # Errors
    /// `Malformed` when none is named.
    pub fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        let why = "no data directory: give --data DIR";
        some(&self.data)
            .map(PathBuf::from)
            .ok_or_else(|| ConfigError::Malformed { from: "data".to_owned(), why: why.to_owned() })
    }

    /// The directory of the root key: by default beside the data directory, as `DATA.root`.
    ///
    /// # Errors
    /// As [`Self::data_dir`].
    pub fn root_dir(&self) -> Result<PathBuf, ConfigError> {
        if let Some(dir) = some(&self.root.dir) {
            return Ok(PathBuf::from(dir));
        }
        let data = self.data_dir()?;
        // `.` and `..` have no name that could be lengthened.
        let named = data.components().next_back().is_some_and(|last| matches!(last, Component::Normal(_)));
        let data = if named { data.components().collect() } else { real(&data) };
        let mut name = data.into_os_string();
        name.push(".root");
        Ok(PathBuf::from(name))
    }
}

/// Where a path leads: absolute, without links as far as it exists.
#[must_use]
pub fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            real(parent).join(name)
        }
        (Some(parent), Some(Component::ParentDir)) => {
            let parent = real(parent);
            parent.parent().map_or_else(|| parent.clone(), Path::to_path_buf)
        }
        _ => path.to_path_buf(),
    }
}

/// A text that is set.
#[must_use]
pub fn some(text: &str) -> Option<&str> {
    Some(text).filter(|t| !t.is_empty())
}

/// Every environment variable that is read, in order.
#[must_use]
pub fn variables() -> Vec<String> {
    known().iter().map(|(section, key, _)| variable(section, key)).collect()
}

fn read(text: &str, from: &str) -> Result<Table, ConfigError> {
    let bad = |e: toml::de::Error| ConfigError::Malformed { from: from.to_owned(), why: e.to_string() };
    // As a configuration first: its errors name line and key.
    toml::from_str::<Config>(text).map_err(bad)?;
    toml::from_str(text).map_err(bad)
}

/// Every key with its default, which tells its type.
fn known() -> Vec<(String, String, Value)> {
    let mut out = Vec::new();
    let Ok(Value::Table(table)) = Value::try_from(Config::default()) else { return out };
    for (name, value) in table {
        match value {
            Value::Table(section) => out.extend(section.into_iter().map(|(key, value)| (name.clone(), key, value))),
            value => out.push((String::new(), name, value)),
        }
    }
    out
}

fn variable(section: &str, key: &str) -> String {
    let parts = ["GOTGAN", section, key];
    parts.iter().filter(|p| !p.is_empty()).map(|p| p.to_uppercase()).collect::<Vec<_>>().join("_")
}

fn typed(like: &Value, text: &str) -> Option<Value> {
    match like {
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        _ => Some(Value::String(text.to_owned())),
    }
}

fn put(table: &mut Table, section: &str, key: &str, value: Value) {
    if section.is_empty() {
        table.insert(key.to_owned(), value);
        return;
    }
    let entry = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = entry {
        section.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(text, "c.toml", environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn environment_beats_file_beats_default() {
        let config = load(
            "region = \"a\"\n[listen]\ns3 = \"127.0.0.1:1\"\n",
            &[("GOTGAN_LISTEN_S3", "127.0.0.1:2"), ("HOME", "/")],
        )
        .unwrap();
        assert_eq!(
            (config.region.as_str(), config.listen.s3.as_str(), config.listen.admin.as_str()),
            ("a", "127.0.0.1:2", "127.0.0.1:9001")
        );
        assert_eq!(
            load("", &[("GOTGAN_LIMITS_CONNECTIONS", "9"), ("GOTGAN_DANGER_PLAIN_HTTP", "true")])
                .unwrap()
                .limits
                .connections,
            9
        );
    }

    #[test]
    fn what_is_unknown_is_an_error() {
        for bad in ["regoin = \"a\"", "[listen]\ns4 = \"x\"", "region = 5", "[nowhere]\n"] {
            assert!(load(bad, &[]).is_err(), "{bad}");
        }
        assert!(load("", &[("GOTGAN_LIMITS_CONNECTIONS", "many")]).is_err());
        assert!(load("", &[("GOTGAN_LISTEN_S4", "x")]).unwrap_err().to_string().contains("GOTGAN_LISTEN_S4"));
        assert!(load("", &[("GOTGAN_CACHE", "/x"), ("GOTGAN_TOOLS", "/t"), ("OTHER", "y")]).is_ok());
    }

    #[test]
    fn values_that_cannot_be_used_are_errors() {
        for bad in [
            "[listen]\ns3 = \"9000\"",
            "[listen]\nadmin = \"127.0.0.1:70000\"",
            "[tls]\ncertificate = \"c.pem\"",
            "region = \"Seoul!\"",
            "[limits]\nconnections = 0",
            "[limits]\nidle_seconds = 0",
            "[limits]\nstall_seconds = 99999999",
            "[keys]\ncache_seconds = 301",
            "[keys]\nrewrap_per_second = 0",
            "[openbao]\naddress = \"http://bao.example:8200\"\ntoken_file = \"/t\"\ncountry = \"KR\"",
            "[openbao]\naddress = \"https://bao.example:8200\"\ntoken_file = \"/t\"\ncountry = \"KR\"",
            "[openbao]\naddress = \"http://127.0.0.1:8200\"\ncountry = \"KR\"",
            "[openbao]\naddress = \"http://127.0.0.1:8200\"\ntoken_file = \"/t\"",
            "[openbao]\naddress = \"http://127.0.0.1:8200\"\ntoken_file = \"/t\"\ncountry = \"Korea\"",
            "[pkcs11]\nmodule = \"/m.so\"\ntoken = \"t\"\ncountry = \"KR\"",
            "[pkcs11]\nmodule = \"/m.so\"\npin_file = \"/p\"\ncountry = \"KR\"",
            "[pkcs11]\nmodule = \"/m.so\"\ntoken = \"t\"\npin_file = \"/p\"",
            "[log]\nformat = \"xml\"",
            "[log]\nfilter = \"a=b=c\"",
        ] {
            assert!(load(bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_key_has_a_variable_and_prints() {
        let variables = variables();
        assert!(
            variables.contains(&"GOTGAN_ROOT_PASSPHRASE_FILE".to_owned())
                && variables.contains(&"GOTGAN_DATA".to_owned())
        );
        let config = Config::default();
        assert_eq!(toml::from_str::<Config>(&config.print().unwrap()).unwrap(), config);
    }

    #[test]
    fn the_root_key_lies_beside_the_data() {
        let config = Config { data: "/srv/gotgan/".to_owned(), ..Config::default() };
        assert_eq!(config.root_dir().unwrap(), PathBuf::from("/srv/gotgan.root"));
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let mut beside = here.clone().into_os_string();
        beside.push(".root");
        for data in [".", "./", "absent/..", here.to_str().unwrap()] {
            let config = Config { data: data.to_owned(), ..Config::default() };
            assert_eq!(config.root_dir().unwrap(), PathBuf::from(&beside), "{data}");
        }
    }
}
