//! The fetch pool: connections that pull one file after the other, and uploads beside them.
//!
//! Each worker has one connection with one pull in flight. A file that is complete and verified is handed to an
//! upload task, so that a slow write never idles a connection. A file above [`STREAMED_ABOVE`] bytes is handed on
//! piece by piece; the destination shows it only once it is verified. What all files together hold in memory is
//! bounded: a worker reserves what its file will need before it asks for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use obsync_proto::crypto::{ContentDecryptor, ContentError, Verified};
use obsync_proto::session::Event;
use obsync_proto::wire::limits::MAX_PIECE;
use obsync_proto::{Cursor, VaultPath};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::lease::LeaseGate;
use super::width::{Permit, Width};
use super::{Mirror, Options, RunError};
use crate::blob::{BlobError, BlobErrorKind};
use crate::plan::Fetch;
use crate::progress::Progress;
use crate::remote::{Connection, RemoteError};
use crate::retry::RetryPolicy;
use crate::state::FileEntry;

/// Bytes of plaintext above which a file is written while it arrives.
const STREAMED_ABOVE: u64 = 4 << 20;

/// Pieces that wait between a connection and a streamed upload.
const WAITING_PIECES: usize = 2;

/// Uploads at once, at most. Each holds a file open, or a request.
const MOST_UPLOADS: u64 = 64;

/// Connections that may break in a row, for each worker, before the service is taken to be out of reach.
const BROKEN_PER_WORKER: u32 = 8;

/// What became of one file.
pub(super) enum Outcome {
    /// It is at the destination.
    Written(Fetch, FileEntry),
    /// It could not be had or written.
    Failed(Fetch, String),
    /// The service no longer has this version of it.
    Gone(Fetch),
    /// It may be at the destination or not: another outcome, which follows, tells of the error.
    Unsure(VaultPath),
    /// Nothing further can succeed.
    Fatal(RunError),
    /// A connection could not be opened; the files it would have fetched are still waiting.
    Unreachable(RemoteError),
}

/// The files to fetch, and all that the workers share.
pub(super) struct Pool {
    mirror: Mirror,
    gate: LeaseGate,
    retry: RetryPolicy,
    cursor: Cursor,
    waiting: Mutex<VecDeque<Job>>,
    width: Arc<Width>,
    /// Pulls in a row, by whichever worker, that ended with a broken connection.
    broken: AtomicU32,
    most_broken: u32,
    memory: Arc<Semaphore>,
    memory_size: u64,
    /// Cancelled: start nothing new.
    pub(super) drain: CancellationToken,
    /// Cancelled: give up what is in flight.
    pub(super) cut: CancellationToken,
    /// Cancelled when nobody takes note of anything any more: what is being published then is cut off, too.
    pub(super) leave: CancellationToken,
}

struct Job {
    fetch: Fetch,
    failures: u32,
}

/// A connection that is ready for pulls.
struct Open {
    connection: Box<dyn Connection>,
    _permit: Permit,
}

/// What a connection tells an upload.
enum Part {
    Chunk(Bytes),
    End(Verified),
}

/// Why a pull brought no file.
enum Fault {
    /// The connection is of no more use.
    Connection(RemoteError),
    /// What came is not the file.
    Content(ContentError),
    /// The service says that it cannot serve it.
    Service(String),
    /// The service says that it is no more.
    Gone,
    /// The upload failed and has said so itself.
    Upload,
}

impl From<RemoteError> for Fault {
    fn from(error: RemoteError) -> Self {
        Fault::Connection(error)
    }
}

impl From<ContentError> for Fault {
    fn from(error: ContentError) -> Self {
        Fault::Content(error)
    }
}

impl Pool {
    /// Starts to fetch. `connection` is open and listed up to `cursor`; further ones are opened on demand, up to
    /// `options.jobs` in all. Ends when the other side of `outcomes` finds no more senders.
    pub(super) fn start(
        mirror: &Mirror,
        options: &Options,
        gate: LeaseGate,
        fetches: Vec<Fetch>,
        connection: Option<Box<dyn Connection>>,
        cursor: Cursor,
        outcomes: UnboundedSender<Outcome>,
    ) -> Arc<Self> {
        let memory_size =
            options.in_flight.max(footprint(u64::MAX, mirror.blobs.write_buffer())).min(u64::from(u32::MAX));
        let workers = options.jobs.clamp(1, fetches.len().max(1));
        let pool = Arc::new(Self {
            mirror: mirror.clone(),
            gate,
            retry: options.retry,
            cursor,
            waiting: Mutex::new(fetches.into_iter().map(|fetch| Job { fetch, failures: 0 }).collect()),
            width: Width::new(workers),
            broken: AtomicU32::new(0),
            most_broken: BROKEN_PER_WORKER * u32::try_from(workers.max(4)).unwrap_or(u32::MAX),
            memory: Arc::new(Semaphore::new(memory_size as usize)),
            memory_size,
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
            leave: CancellationToken::new(),
        });
        let mut connection = connection;
        for _ in 0..workers {
            let worker = Worker { pool: pool.clone(), outcomes: outcomes.clone() };
            let given = connection.take();
            let work = async move {
                tokio::select! {
                    biased;
                    () = worker.pool.cut.cancelled() => {}
                    () = worker.work(given) => {}
                }
            };
            tokio::spawn(work.in_current_span());
        }
        drop(outcomes);
        pool
    }

    /// Files that nobody has taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next file, and the memory for it; `None` when there is none, or it is time to stop.
    async fn next_job(&self) -> Option<(Job, OwnedSemaphorePermit)> {
        let job = {
            let mut queue = self.queue();
            if self.drain.is_cancelled() { None } else { queue.pop_front() }
        }?;
        let least = self.memory_size / MOST_UPLOADS;
        let need = footprint(job.fetch.file.size(), self.mirror.blobs.write_buffer()).clamp(least, self.memory_size);
        let reserved = tokio::select! {
            biased;
            () = self.drain.cancelled() => None,
            memory = self.memory.clone().acquire_many_owned(need as u32) => memory.ok(),
        };
        if reserved.is_none() {
            self.queue().push_front(job);
            return None;
        }
        reserved.map(|memory| (job, memory))
    }

    /// Opens a connection that is ready for pulls, or makes the one that is `given` one of the pool's. What changed
    /// since the listing is the next run's. `None` when the others have taken all that was waiting.
    async fn open(&self, mut given: Option<Box<dyn Connection>>) -> Result<Option<Open>, RemoteError> {
        let mut tries = self.retry.begin();
        while self.waiting() > 0 {
            let permit = self.drain.run_until_cancelled(self.width.permit()).await;
            let Some(mut permit) = permit.filter(|_| self.waiting() > 0) else { break };
            let opened = match given.take() {
                Some(connection) => Ok(connection),
                None => self.open_once().await,
            };
            match opened {
                Ok(connection) => {
                    permit.opened();
                    return Ok(Some(Open { connection, _permit: permit }));
                }
                Err(error) => {
                    permit.refused();
                    if self.width.has_open() {
                        // The service can be reached: this one waits for its turn, however long that takes.
                        tries = self.retry.begin();
                    }
                    tries.pause_after(error).await?;
                }
            }
        }
        Ok(None)
    }

    async fn open_once(&self) -> Result<Box<dyn Connection>, RemoteError> {
        let mut connection = self.mirror.remote.open(self.cursor).await?;
        while !matches!(connection.next().await?, Event::Ready(_)) {}
        Ok(connection)
    }
}

/// One of the tasks that fetch. The channel of outcomes closes when the last worker and upload are done.
#[derive(Clone)]
struct Worker {
    pool: Arc<Pool>,
    outcomes: UnboundedSender<Outcome>,
}

impl Worker {
    fn tell(&self, outcome: Outcome) {
        // Without a receiver the run is over, and nobody wants to know.
        let _ = self.outcomes.send(outcome);
    }

    async fn work(&self, mut given: Option<Box<dyn Connection>>) {
        let mut kept = None;
        loop {
            // The connection first: a file that is taken and waits for one would be kept from the other workers.
            let mut open = match kept.take() {
                Some(open) => open,
                None => match self.pool.open(given.take()).await {
                    Ok(Some(open)) => open,
                    Ok(None) => return,
                    Err(error) => {
                        if !self.pool.width.has_open() {
                            // Out of reach: the others need not find that out one after the other.
                            self.pool.drain.cancel();
                        }
                        return self.tell(Outcome::Unreachable(error));
                    }
                },
            };
            let Some((job, memory)) = self.pool.next_job().await else { return };
            match self.fetch(open.connection.as_mut(), &job.fetch, memory).await {
                Ok(()) => {
                    self.pool.broken.store(0, Ordering::Relaxed);
                    kept = Some(open);
                }
                Err(fault) => {
                    if fault.leaves_connection_usable() {
                        kept = Some(open);
                    }
                    self.on_fault(job, fault).await;
                }
            }
        }
    }

    async fn on_fault(&self, mut job: Job, fault: Fault) {
        let error = match fault {
            Fault::Upload => return,
            Fault::Gone => return self.tell(Outcome::Gone(job.fetch)),
            Fault::Connection(error) if error.ends_run() => return self.tell(Outcome::Fatal(error.into())),
            Fault::Connection(error) if self.pool.broken.fetch_add(1, Ordering::Relaxed) >= self.pool.most_broken => {
                return self.tell(Outcome::Fatal(error.into()));
            }
            Fault::Connection(error) => error.to_string(),
            Fault::Content(error) => error.to_string(),
            Fault::Service(text) => format!("the service cannot serve it: {text}"),
        };
        job.failures += 1;
        let Some(pause) = self.pool.retry.pause(job.failures) else {
            return self.tell(Outcome::Failed(job.fetch, format!("{error} (tried {} times)", job.failures)));
        };
        self.pool.mirror.observer.on(Progress::Retrying { path: &job.fetch.path, error: &error });
        tokio::select! {
            () = self.pool.drain.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        self.pool.queue().push_back(job);
    }

    /// Pulls one file, and hands it to an upload.
    async fn fetch(
        &self,
        connection: &mut dyn Connection,
        fetch: &Fetch,
        memory: OwnedSemaphorePermit,
    ) -> Result<(), Fault> {
        connection.pull(fetch.uid).await?;
        let announced = announced_size(connection, fetch).await?;
        let mut decryptor = ContentDecryptor::new(&self.pool.mirror.keys.content, announced)?;
        let mut memory = Some(memory);
        let mut start_upload = |room| memory.take().map(|memory| self.start_upload(fetch.clone(), memory, room));
        let mut upload = if fetch.file.size() > STREAMED_ABOVE { start_upload(WAITING_PIECES) } else { None };
        let mut chunks = Vec::new();
        loop {
            match connection.next().await? {
                Event::Piece(piece) => {
                    let chunk = decryptor.update(piece)?;
                    self.pool.mirror.observer.on(Progress::Received { bytes: chunk.len() as u64 });
                    match &upload {
                        Some(upload) => upload.send(Part::Chunk(chunk)).await.map_err(|_| Fault::Upload)?,
                        None => chunks.push(chunk),
                    }
                }
                Event::PullDone => break,
                _ => {}
            }
        }
        let verified = decryptor.finish(fetch.file.hash)?;
        if upload.is_none() {
            upload = start_upload(chunks.len() + 1);
        }
        let Some(upload) = upload else { return Err(Fault::Upload) };
        for chunk in chunks {
            upload.send(Part::Chunk(chunk)).await.map_err(|_| Fault::Upload)?;
        }
        upload.send(Part::End(verified)).await.map_err(|_| Fault::Upload)
    }

    fn start_upload(&self, fetch: Fetch, memory: OwnedSemaphorePermit, room: usize) -> mpsc::Sender<Part> {
        let (sender, parts) = mpsc::channel(room);
        let worker = self.clone();
        let upload = async move {
            let written = worker.write(&fetch, parts).await;
            drop(memory);
            match written {
                Ok(Some(entry)) => worker.tell(Outcome::Written(fetch, entry)),
                // Cut off, or the connection failed and the pull is tried again.
                Ok(None) => {}
                Err(RunError::Destination(error)) if error.kind != BlobErrorKind::Unusable => {
                    worker.tell(Outcome::Failed(fetch, error.to_string()));
                }
                Err(error) => worker.tell(Outcome::Fatal(error)),
            }
        };
        tokio::spawn(upload.in_current_span());
        sender
    }

    /// Writes the parts of one file as they come; `None` if they end before the file does.
    async fn write(&self, fetch: &Fetch, mut parts: mpsc::Receiver<Part>) -> Result<Option<FileEntry>, RunError> {
        let meta = fetch.file.meta();
        let mut writer = self.pool.mirror.blobs.writer(&fetch.path, &meta).await?;
        // Once the file is complete it is not cut off any more, as long as the run is there to take note of it. After
        // that, a publication could come after that of the next run.
        while let Some(part) = self.pool.cut.run_until_cancelled(parts.recv()).await.flatten() {
            let result: Result<(), BlobError> = match part {
                Part::Chunk(chunk) => writer.write(chunk).await,
                Part::End(verified) => {
                    self.pool.gate.check()?;
                    let published = self.pool.leave.run_until_cancelled(writer.commit(verified)).await;
                    if let Some(Err(error)) = &published
                        && error.leaves_doubt()
                    {
                        self.tell(Outcome::Unsure(fetch.path.clone()));
                    }
                    let Some(stamp) = published.transpose()? else { return Ok(None) };
                    let (hash, size) = (verified.hash(), verified.size());
                    let (uid, mtime, ctime) = (fetch.uid, meta.mtime, meta.ctime);
                    return Ok(Some(FileEntry { uid, hash, size, mtime, ctime, stamp }));
                }
            };
            if let Err(error) = result {
                writer.abort().await;
                return Err(error.into());
            }
        }
        writer.abort().await;
        Ok(None)
    }
}

impl Fault {
    fn leaves_connection_usable(&self) -> bool {
        matches!(self, Fault::Service(_) | Fault::Gone)
    }
}

/// Waits for the answer to a pull: bytes of ciphertext.
async fn announced_size(connection: &mut dyn Connection, fetch: &Fetch) -> Result<u64, Fault> {
    loop {
        match connection.next().await? {
            // What was reserved is what the record says; more is not taken.
            Event::Content(size) if size > fetch.file.encrypted_size => {
                return Err(Fault::Content(ContentError::TooLong { announced: fetch.file.encrypted_size }));
            }
            Event::Content(size) => return Ok(size),
            Event::PullGone => return Err(Fault::Gone),
            Event::PullFailed(text) => return Err(Fault::Service(text)),
            _ => {}
        }
    }
}

/// Bytes that a file of `size` bytes holds in memory on its way.
fn footprint(size: u64, write_buffer: u64) -> u64 {
    let streamed = write_buffer + (WAITING_PIECES as u64 + 2) * MAX_PIECE as u64;
    if size > STREAMED_ABOVE { streamed } else { size + 1024 }
}
