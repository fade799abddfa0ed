//! What a disk may hold when the power goes: built from the recorded file operations of a server.
//!
//! All that was synced is there. Of what was not, each 4 KiB page may have reached the disk or not, in any
//! of its states since the sync; a file may have any length between; of the changes of names in a directory
//! the first few are there, as journaling file systems have it. Syncing a file does not sync its name.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::noise::Noise;

const PAGE: u64 = 4096;
const HEADER: usize = 32;

/// Compiles the recorder into a folder.
#[must_use]
pub fn recorder(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorder/recorder.c");
    let to = folder.join("recorder");
    let done = Command::new("cc").args(["-O1", "-o"]).arg(&to).arg(&source).status();
    assert!(done.is_ok_and(|status| status.success()), "cc must compile {}", source.display());
    to
}

/// The words before the program, for [`crate::Store::start_under`].
#[must_use]
pub fn recording(recorder: &Path, log: &Path, data: &Path) -> Vec<OsString> {
    [recorder, log, data].map(|path| path.as_os_str().to_owned()).to_vec()
}

/// How much of what was not synced survives.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// None of it.
    Nothing,
    /// All of it, as when only the process dies.
    Everything,
    /// Some pages, some length, some names.
    Some,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    /// `size` bytes of the log, from `from`.
    Write {
        at: u64,
        from: usize,
        size: usize,
    },
    Length(u64),
    Extend(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Debug, Clone)]
enum Naming {
    Link(OsString, Node),
    Unlink(OsString),
    Rename(OsString, OsString),
}

type Page = [u8; PAGE as usize];

#[derive(Debug, Default)]
struct Content {
    length: u64,
    pages: BTreeMap<u64, Box<Page>>,
}

#[derive(Debug, Default)]
struct Inode {
    synced: Content,
    since: Vec<Change>,
    /// Changes that are in `synced`.
    before: usize,
}

#[derive(Debug, Default)]
struct Directory {
    synced: BTreeMap<OsString, Node>,
    now: BTreeMap<OsString, Node>,
    since: Vec<Naming>,
    before: usize,
}

/// A sync that began covers what is before `upto`.
#[derive(Debug)]
enum Begun {
    File { id: usize, upto: usize },
    Directory { path: PathBuf, upto: usize },
}

/// A disk while its log is played back.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    log: Vec<u8>,
    at: usize,
    files: Vec<Inode>,
    by_inode: HashMap<u64, usize>,
    directories: HashMap<PathBuf, Directory>,
    syncs: HashMap<u32, Begun>,
}

impl Disk {
    /// The disk as it was before the recording: what lies under `root` is durable.
    #[must_use]
    pub fn before(root: &Path) -> Self {
        let (files, by_inode, directories, syncs) = Default::default();
        let mut disk = Self { root: root.to_owned(), log: Vec::new(), at: 0, files, by_inode, directories, syncs };
        disk.import(root);
        disk
    }

    /// An empty disk, on which `root` will be made.
    #[must_use]
    pub fn empty(root: &Path) -> Self {
        let mut disk = Self::before(&root.join("nothing is here"));
        disk.directories = HashMap::from([(root.to_owned(), Directory::default())]);
        disk.root = root.to_owned();
        disk
    }

    fn import(&mut self, folder: &Path) {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_owned();
            if path.is_dir() {
                self.import(&path);
                names.insert(name, Node::Directory);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let mut content = Content::default();
            content.write(0, &bytes);
            self.by_inode.insert(fs::metadata(&path).unwrap().ino(), self.files.len());
            names.insert(name, Node::File(self.files.len()));
            self.files.push(Inode { synced: content, ..Inode::default() });
        }
        let directory = Directory { synced: names.clone(), now: names, ..Directory::default() };
        self.directories.insert(folder.to_owned(), directory);
    }

    /// Takes in what was recorded.
    pub fn load(&mut self, log: &Path) {
        self.log = fs::read(log).unwrap();
    }

    /// Places in the log where the power may go: between two events; second those right before a sync is done.
    #[must_use]
    pub fn moments(&self, from: u64) -> (Vec<usize>, Vec<usize>) {
        let (mut all, mut syncs, mut at) = (Vec::new(), Vec::new(), 0);
        while at < self.log.len() {
            if at as u64 >= from {
                all.push(at);
                if self.log[at] == 5 {
                    syncs.push(at);
                }
            }
            at += self.event(at).size;
        }
        (all, syncs)
    }

    /// Plays back up to a place in the log.
    pub fn play(&mut self, until: usize) {
        while self.at < until {
            let event = self.event(self.at);
            let size = event.size;
            self.apply(&event);
            self.at += size;
        }
    }

    fn event(&self, at: usize) -> Event {
        let header = &self.log[at..at + HEADER];
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let [first, second] = [24, 28].map(|at| usize::try_from(word(at)).unwrap());
        let start = at + HEADER;
        let text = |from: usize, size: usize| {
            let text = std::str::from_utf8(&self.log[from..from + size]);
            PathBuf::from(text.unwrap_or_default().trim_end_matches(" (deleted)"))
        };
        let kind = word(0);
        let paths = if kind == 2 { Default::default() } else { (text(start, first), text(start + first, second)) };
        Event {
            kind,
            thread: word(4),
            inode: long(8),
            at: long(16),
            data: (start, first),
            paths,
            size: HEADER + first + second,
        }
    }

    fn apply(&mut self, event: &Event) {
        let (one, two) = &event.paths;
        match event.kind {
            1 => self.create(one, event.inode),
            2 => {
                let (from, size) = event.data;
                self.change(event.inode, Change::Write { at: event.at, from, size });
            }
            3 => self.change(event.inode, Change::Length(event.at)),
            9 => self.change(event.inode, Change::Extend(event.at)),
            4 => self.sync_begins(event.thread, one, event.inode),
            5 => self.sync_is_done(event.thread),
            6 if one.parent() == two.parent() => {
                self.name(one, Naming::Rename(name_of(one), name_of(two)));
            }
            7 => self.name(one, Naming::Unlink(name_of(one))),
            8 if *one == self.root => {}
            8 => {
                self.directories.insert(one.clone(), Directory::default());
                self.name(one, Naming::Link(name_of(one), Node::Directory));
            }
            other => panic!("event {other} of {} {} is not understood", one.display(), two.display()),
        }
    }

    fn create(&mut self, path: &Path, inode: u64) {
        let folder = self.directories.get(path.parent().unwrap()).unwrap();
        if let Some(Node::File(id)) = folder.now.get(path.file_name().unwrap()) {
            assert_eq!(self.by_inode.get(&inode), Some(id), "{}", path.display());
            return;
        }
        let id = self.files.len();
        self.files.push(Inode::default());
        // The number may have been that of a file which is gone.
        self.by_inode.insert(inode, id);
        self.name(path, Naming::Link(name_of(path), Node::File(id)));
    }

    fn name(&mut self, path: &Path, naming: Naming) {
        let folder = self.directories.get_mut(path.parent().unwrap()).unwrap();
        naming.apply(&mut folder.now);
        folder.since.push(naming);
    }

    fn change(&mut self, inode: u64, change: Change) {
        let id = self.by_inode.get(&inode).unwrap_or_else(|| panic!("inode {inode} was never opened"));
        self.files[*id].since.push(change);
    }

    fn sync_begins(&mut self, thread: u32, path: &Path, inode: u64) {
        let begun = match self.directories.get(path) {
            Some(found) => Begun::Directory { path: path.to_owned(), upto: found.before + found.since.len() },
            None => {
                let id = self.by_inode[&inode];
                Begun::File { id, upto: self.files[id].before + self.files[id].since.len() }
            }
        };
        self.syncs.insert(thread, begun);
    }

    fn sync_is_done(&mut self, thread: u32) {
        match self.syncs.remove(&thread).unwrap() {
            Begun::File { id, upto } => {
                let file = &mut self.files[id];
                let count = upto.saturating_sub(file.before);
                for change in file.since.drain(..count) {
                    file.synced.apply(change, &self.log);
                }
                file.before += count;
            }
            Begun::Directory { path, upto } => {
                let directory = self.directories.get_mut(&path).unwrap();
                let count = upto.saturating_sub(directory.before);
                for naming in directory.since.drain(..count) {
                    naming.apply(&mut directory.synced);
                }
                directory.before += count;
            }
        }
    }

    /// Writes what the disk may hold now into a folder that is not there yet.
    pub fn image(&self, to: &Path, fate: Fate, noise: &mut Noise) {
        self.folder(&self.root, to, fate, noise);
    }

    fn folder(&self, from: &Path, to: &Path, fate: Fate, noise: &mut Noise) {
        fs::create_dir(to).unwrap();
        let directory = &self.directories[from];
        let mut names = directory.synced.clone();
        for naming in &directory.since[..survivors(directory.since.len(), fate, noise)] {
            naming.apply(&mut names);
        }
        for (name, node) in names {
            match node {
                Node::Directory => self.folder(&from.join(&name), &to.join(&name), fate, noise),
                Node::File(id) => self.files[id].image(&to.join(name), &self.log, fate, noise),
            }
        }
    }
}

/// One entry of the log.
struct Event {
    kind: u32,
    thread: u32,
    inode: u64,
    at: u64,
    data: (usize, usize),
    paths: (PathBuf, PathBuf),
    size: usize,
}

fn name_of(path: &Path) -> OsString {
    path.file_name().unwrap().to_owned()
}

/// How many of the first changes survive.
fn survivors(of: usize, fate: Fate, noise: &mut Noise) -> usize {
    match fate {
        Fate::Nothing => 0,
        Fate::Everything => of,
        Fate::Some => match noise.below(4) {
            0 => 0,
            1 => of,
            _ => usize::try_from(noise.below(of as u64 + 1)).unwrap(),
        },
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<OsString, Node>) {
        match self {
            Self::Link(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Unlink(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                let node = names.remove(from).unwrap();
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Content {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let within = usize::try_from(at % PAGE).unwrap();
            let size = rest.len().min(PAGE as usize - within);
            let page = self.pages.entry(at / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[within..within + size].copy_from_slice(&rest[..size]);
            rest = &rest[size..];
            at += size as u64;
        }
        self.length = self.length.max(at);
    }

    fn apply(&mut self, change: Change, log: &[u8]) {
        match change {
            Change::Write { at, from, size } => self.write(at, &log[from..from + size]),
            Change::Extend(to) => self.length = self.length.max(to),
            Change::Length(to) => {
                self.pages.split_off(&to.div_ceil(PAGE));
                if let Some(page) = self.pages.get_mut(&(to / PAGE)) {
                    page[usize::try_from(to % PAGE).unwrap()..].fill(0);
                }
                self.length = to;
            }
        }
    }
}

impl Inode {
    fn image(&self, to: &Path, log: &[u8], fate: Fate, noise: &mut Noise) {
        let length = self.some_length(fate, noise);
        let file = File::create(to).unwrap();
        file.set_len(length).unwrap();
        let put = |number: &u64, page: &Page| {
            let left = length.saturating_sub(number * PAGE).min(PAGE);
            file.write_all_at(&page[..usize::try_from(left).unwrap()], number * PAGE).unwrap();
        };
        self.synced.pages.iter().for_each(|(number, page)| put(number, page));
        for number in self.changed_pages() {
            let mut page = Content::default();
            page.pages.extend(self.synced.pages.get(&number).map(|page| (number, page.clone())));
            for change in &self.since[..survivors(self.since.len(), fate, noise)] {
                page.apply(change.within(number), log);
            }
            put(&number, page.pages.get(&number).map_or(&[0; PAGE as usize], |page| page));
        }
    }

    fn changed_pages(&self) -> std::collections::BTreeSet<u64> {
        let writes = self.since.iter().filter_map(|change| match change {
            Change::Write { at, size, .. } if *size > 0 => Some(at / PAGE..=(at + *size as u64 - 1) / PAGE),
            _ => None,
        });
        writes.flatten().collect()
    }

    fn some_length(&self, fate: Fate, noise: &mut Noise) -> u64 {
        let length = |changes: &[Change]| {
            changes.iter().fold(self.synced.length, |length, change| match change {
                Change::Write { at, size, .. } => length.max(at + *size as u64),
                Change::Extend(to) => length.max(*to),
                Change::Length(to) => *to,
            })
        };
        let chosen = length(&self.since[..survivors(self.since.len(), fate, noise)]);
        let whole = length(&self.since);
        match fate {
            // A file system may have put only a part of a write behind the end.
            Fate::Some if whole > chosen && noise.below(2) == 0 => chosen + noise.below(whole - chosen),
            _ => chosen,
        }
    }
}

impl Change {
    /// The part of a write that falls into one page, which may be nothing.
    fn within(self, number: u64) -> Self {
        let Self::Write { at, from, size } = self else { return self };
        let whole = at + size as u64;
        let begin = at.max(number * PAGE).min(whole);
        let size = whole.min((number + 1) * PAGE).saturating_sub(begin);
        Self::Write {
            at: begin,
            from: from + usize::try_from(begin - at).unwrap(),
            size: usize::try_from(size).unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_only_what_a_write_put_into_it() {
        let log: Vec<u8> = (0..100).collect();
        let write = Change::Write { at: PAGE - 10, from: 50, size: 50 };
        let taken = |number| match write.within(number) {
            Change::Write { at, from, size } => (at, log[from..from + size].to_vec()),
            other => panic!("{other:?}"),
        };
        assert_eq!(taken(0), (PAGE - 10, log[50..60].to_vec()));
        assert_eq!(taken(1), (PAGE, log[60..].to_vec()));
        // The log ends with this write: a page far behind it must not reach beyond.
        assert!(taken(7).1.is_empty());
    }
}
