//! A server, and the commands against it, by a clock that the test sets forward.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::cli::Account;
use crate::server::{Store, binary};
use crate::shim::shim;

/// Seconds of a day.
pub const DAY: u64 = 24 * 3600;

/// The time of day is ahead by the seconds in the file AHEAD; other clocks go as they do.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *ahead;
__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("AHEAD");
    int fd = file ? open(file, O_RDONLY) : -1;
    if (fd < 0) return;
    void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) ahead = at;
    close(fd);
}
int clock_gettime(clockid_t which, struct timespec *out) {
    int done = syscall(SYS_clock_gettime, which, out);
    if (done == 0 && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) out->tv_sec += *ahead;
    return done;
}
"#;

/// A store whose clock, and that of the commands here, is set.
#[derive(Debug)]
pub struct Clocked {
    /// The store.
    pub store: Store,
    library: PathBuf,
    ahead: PathBuf,
}

impl Clocked {
    /// A store whose clock goes right.
    #[must_use]
    pub fn new() -> Self {
        let mut store = Store::new();
        let (library, ahead) = (shim(store.home(), SHIM), store.home().join("ahead"));
        store.set("LD_PRELOAD", library.to_str().unwrap());
        store.set("AHEAD", ahead.to_str().unwrap());
        let clocked = Self { store, library, ahead };
        std::fs::write(&clocked.ahead, 0_u64.to_ne_bytes()).unwrap();
        clocked
    }

    /// Sets all clocks ahead of the real one.
    pub fn ahead(&self, seconds: u64) {
        use std::os::unix::fs::FileExt;
        // In place: the file is mapped.
        let file = std::fs::OpenOptions::new().write(true).open(&self.ahead).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Runs a command as somebody.
    #[must_use]
    pub fn run(&self, account: &Account, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments).args(["--data", self.store.data().to_str().unwrap(), "--json"]);
        command.envs(account.variables()).output().unwrap()
    }

    /// Runs a command that asks no server of its own accord, which must succeed; gives what it printed.
    pub fn alone(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("LD_PRELOAD", &self.library).env("AHEAD", &self.ahead);
        command
    }

    /// Runs a command with `--json`, which must succeed.
    pub fn json(&self, account: &Account, arguments: &[&str]) -> Value {
        let output = self.run(account, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must be refused, for a reason that contains `why`.
    pub fn refused(&self, account: &Account, arguments: &[&str], why: &str) {
        let output = self.run(account, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
}

impl Default for Clocked {
    fn default() -> Self {
        Self::new()
    }
}
