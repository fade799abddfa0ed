//! The layouts that `docs/decisions/0001` weighs, side by side in one run: segment files (ours), SST
//! files of single segments that are ingested, and BlobDB. Rounds alternate; medians are printed.
#![expect(clippy::print_stdout, reason = "it prints a table")]

mod common;

use std::time::Instant;

use common::{Bench, Failure};
use futures::future::join_all;
use rocksdb::{DB, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch, WriteOptions};
use storage::geometry::{SEGMENT_PLAIN, SEGMENT_SEALED, SEGMENTS_PER_CHUNK};

const ROUNDS: u128 = 15;
const READS: u32 = 200;

/// What is written in one round: so many bodies of so many segments.
const SHAPES: [(u32, u32); 2] = [(4, SEGMENTS_PER_CHUNK), (16, 2)];

/// A way to lay out bodies on disk.
trait Layout {
    fn name(&self) -> &'static str;
    /// Keeps bodies of so many segments each; all are durable when it returns.
    fn write(&mut self, bodies: &[u128], segments: u32) -> Result<(), Failure>;
    /// Reads one segment of a body; gives its length.
    fn read(&self, body: u128, segment: u32) -> Result<usize, Failure>;
}

/// Segment files with direct I/O under a RocksDB index: the store itself.
struct Segments {
    runtime: tokio::runtime::Runtime,
    bench: Bench,
}

impl Layout for Segments {
    fn name(&self) -> &'static str {
        "segment files, O_DIRECT"
    }

    fn write(&mut self, bodies: &[u128], segments: u32) -> Result<(), Failure> {
        let all = bodies.iter().map(|body| self.bench.write(*body, segments));
        let written: Result<Vec<_>, Failure> = self.runtime.block_on(join_all(all)).into_iter().collect();
        written.map(|_| ())
    }

    fn read(&self, body: u128, segment: u32) -> Result<usize, Failure> {
        let id = storage::chunk::ChunkId { body: policy::id::BodyId::from_bytes(body.to_be_bytes()), number: 0 };
        let run = self.runtime.block_on(self.bench.store.read(id, segment..segment + 1))?;
        Ok(run.count() * SEGMENT_SEALED)
    }
}

/// One SST file per group of bodies, one value per segment, ingested.
struct Ingested {
    db: DB,
    dir: tempfile::TempDir,
    files: u64,
    noise: Vec<u8>,
}

impl Layout for Ingested {
    fn name(&self) -> &'static str {
        "ingested SST, buffered"
    }

    fn write(&mut self, bodies: &[u128], segments: u32) -> Result<(), Failure> {
        let options = values();
        let mut writer = SstFileWriter::create(&options);
        self.files += 1;
        let path = self.dir.path().join(format!("{}.ingest", self.files));
        writer.open(&path)?;
        for body in bodies {
            for segment in 0..segments {
                writer.put(key(*body, segment), &self.noise)?;
            }
        }
        // RocksDB syncs the file when it finishes it, and its manifest when it ingests it.
        writer.finish()?;
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        Ok(self.db.ingest_external_file_opts(&how, vec![path])?)
    }

    fn read(&self, body: u128, segment: u32) -> Result<usize, Failure> {
        Ok(self.db.get_pinned(key(body, segment))?.map_or(0, |value| value.len()))
    }
}

/// Whole chunks as values of BlobDB: the baseline.
struct Blobs {
    db: DB,
    noise: Vec<u8>,
}

impl Layout for Blobs {
    fn name(&self) -> &'static str {
        "BlobDB"
    }

    fn write(&mut self, bodies: &[u128], segments: u32) -> Result<(), Failure> {
        let length = segments as usize * SEGMENT_SEALED;
        let mut batch = WriteBatch::default();
        for body in bodies {
            batch.put(key(*body, 0), &self.noise[..length]);
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(self.db.write_opt(batch, &synced)?)
    }

    /// It can only be had whole.
    fn read(&self, body: u128, segment: u32) -> Result<usize, Failure> {
        let whole = self.db.get_pinned(key(body, 0))?;
        let from = segment as usize * SEGMENT_SEALED;
        Ok(whole.and_then(|value| value.get(from..from + SEGMENT_SEALED).map(<[u8]>::len)).unwrap_or(0))
    }
}

fn key(body: u128, segment: u32) -> [u8; 20] {
    let mut out = [0; 20];
    out[..16].copy_from_slice(&body.to_be_bytes());
    out[16..].copy_from_slice(&segment.to_be_bytes());
    out
}

fn values() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_use_direct_io_for_flush_and_compaction(true);
    options
}

fn noise(length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

/// Ticks of 10 ms that all threads of this process were on a CPU (proc_pid_stat(5), utime and stime).
fn ticks() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    Ok(fields.iter().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let [sst, blob] = [tempfile::tempdir()?, tempfile::tempdir()?];
    let mut blobs = values();
    blobs.set_enable_blob_files(true);
    blobs.set_min_blob_size(4096);
    let chunk = SEGMENTS_PER_CHUNK as usize * SEGMENT_SEALED;
    let mut layouts: [Box<dyn Layout>; 3] = [
        Box::new(Segments { runtime, bench: Bench::open()? }),
        Box::new(Ingested {
            db: DB::open(&values(), sst.path().join("db"))?,
            dir: sst,
            files: 0,
            noise: noise(SEGMENT_SEALED),
        }),
        Box::new(Blobs { db: DB::open(&blobs, blob.path())?, noise: noise(chunk) }),
    ];
    for (bodies, segments) in SHAPES {
        let bytes = f64::from(bodies * segments) * SEGMENT_PLAIN as f64;
        println!("\n{bodies} bodies of {} KiB at once, durable; then 64 KiB of one of them", segments * 64);
        println!("{:24} {:>8} {:>12} {:>12}", "layout", "MB/s", "CPU s/GB", "reads/s");
        let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
        let mut reads = [Vec::new(), Vec::new(), Vec::new()];
        let mut busy = [0.0; 3];
        for round in 0..ROUNDS {
            for (at, layout) in layouts.iter_mut().enumerate() {
                let first = (u128::from(segments) << 64) | (round * 64);
                let all: Vec<u128> = (0..u128::from(bodies)).map(|n| first + n).collect();
                let (before, begun) = (ticks()?, Instant::now());
                layout.write(&all, segments)?;
                seconds[at].push(begun.elapsed().as_secs_f64());
                busy[at] += ticks()? - before;
                let begun = Instant::now();
                for n in 0..READS {
                    if layout.read(first, n % segments)? != SEGMENT_SEALED {
                        return Err(format!("{} lost a segment", layout.name()).into());
                    }
                }
                reads[at].push(f64::from(READS) / begun.elapsed().as_secs_f64());
            }
        }
        for (at, layout) in layouts.iter().enumerate() {
            let rate = bytes / median(seconds[at].clone()) / 1e6;
            let cpu = busy[at] / 100.0 / (bytes * ROUNDS as f64 / 1e9);
            println!("{:24} {rate:8.0} {cpu:12.2} {:12.0}", layout.name(), median(reads[at].clone()));
        }
    }
    Ok(())
}
