//! A token of SoftHSM, whose PKCS#11 module a server loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::openbao::write_private;
use crate::server::Store;

const PIN: &str = "1234";

/// A token in a folder of its own.
#[derive(Debug)]
pub struct SoftHsm {
    home: tempfile::TempDir,
}

/// The module, where Debian has it.
fn module() -> PathBuf {
    let known = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"].map(PathBuf::from);
    known.into_iter().find(|path| path.exists()).expect("SoftHSM is not installed: run `make test`")
}

impl SoftHsm {
    /// A fresh token with the label `gotgan`.
    #[must_use]
    pub fn new() -> Self {
        let hsm = Self { home: tempfile::Builder::new().prefix("gotgan-hsm-").tempdir().unwrap() };
        fs::create_dir(hsm.tokens()).unwrap();
        let config = format!("directories.tokendir = {}\nobjectstore.backend = file\n", hsm.tokens().display());
        fs::write(hsm.config(), config).unwrap();
        let arguments = ["--init-token", "--free", "--label", "gotgan", "--so-pin", "00000000", "--pin", PIN];
        let made = Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", hsm.config()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        hsm.pin(PIN);
        hsm
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("softhsm2.conf")
    }

    /// Where its tokens lie.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.home.path().join("tokens")
    }

    /// The file of the PIN.
    #[must_use]
    pub fn pin_file(&self) -> PathBuf {
        self.home.path().join("pin")
    }

    /// Writes a PIN, right or wrong.
    pub fn pin(&self, pin: &str) {
        write_private(&self.pin_file(), pin);
    }

    /// Writes the right PIN.
    pub fn right_pin(&self) {
        self.pin(PIN);
    }

    /// Takes the token away, or brings it back.
    pub fn takes_away(&self, away: bool) {
        let elsewhere = self.home.path().join("elsewhere");
        let (from, to) = if away { (self.tokens(), elsewhere) } else { (elsewhere, self.tokens()) };
        fs::rename(from, to).unwrap();
    }

    /// Files of objects.
    #[must_use]
    pub fn objects(&self) -> Vec<PathBuf> {
        let token = fs::read_dir(self.tokens()).unwrap().next().unwrap().unwrap().path();
        let is_object = |path: &Path| {
            path.extension().is_some_and(|e| e == "object") && path.file_stem().is_some_and(|stem| stem != "token")
        };
        fs::read_dir(token).unwrap().map(|f| f.unwrap().path()).filter(|path| is_object(path)).collect()
    }

    /// Lets servers of a store use it.
    pub fn serve(&self, store: &mut Store) {
        store.set("SOFTHSM2_CONF", self.config().to_str().unwrap());
        store.set("GOTGAN_PKCS11_MODULE", module().to_str().unwrap());
        store.set("GOTGAN_PKCS11_TOKEN", "gotgan");
        store.set("GOTGAN_PKCS11_PIN_FILE", self.pin_file().to_str().unwrap());
        store.set("GOTGAN_PKCS11_COUNTRY", "KR");
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}
