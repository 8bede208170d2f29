//! The worker process: takes requests one after the other from the socket that is its standard input.
//!
//! A thread of its own reads the socket, so that the process ends at once when the agent does, even in the middle of a
//! batch. (Linux's parent death signal is no substitute: it follows the thread that started the worker, not the agent.)

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use super::{
    Epoch,
    pacing::Pace,
    protocol::{Description, Reply, Request, receive, send},
    system,
};
use crate::{
    Batch, BatchOutput, Error, LoadStage, Result, StageId, benchmark,
    llama::ThreadPool,
    stage::{LoadPlan, LoadedStage},
};

/// The agent waits for each answer before it asks again, so one request is all that can wait here.
const REQUESTS_WAITING: usize = 1;

/// Serves the agent until the socket closes.
pub(super) fn main() -> ExitCode {
    system::give_back_freed_memory();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the worker is started by an agent, with a socket as its standard input");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut device = Device::begin(receive(&mut stream)?)?;
    send(&mut stream, &Reply::Done)?;
    let requests = read_on_a_thread(stream.try_clone()?);
    for request in requests {
        let mut progress = |share: f32| {
            // An agent that is gone is noticed by the reading thread.
            let _ = send(&mut stream, &Reply::Progress(share));
        };
        let reply = device
            .answer(request, &mut progress)
            .unwrap_or_else(Reply::Failed);
        send(&mut stream, &reply)?;
    }
    Ok(())
}

fn read_on_a_thread(mut stream: UnixStream) -> mpsc::Receiver<Request> {
    let (requests, waiting) = mpsc::sync_channel(REQUESTS_WAITING);
    thread::spawn(move || {
        loop {
            match receive(&mut stream) {
                Ok(request) => {
                    if requests.send(request).is_err() {
                        return;
                    }
                }
                Err(error) => system::exit_at_once(i32::from(error.kind() != ErrorKind::UnexpectedEof)),
            }
        }
    });
    waiting
}

/// The stages of one device and what they share.
pub(crate) struct Device {
    epoch: Epoch,
    stages: BTreeMap<StageId, LoadedStage>,
    threads: Arc<ThreadPool>,
    pace: Option<Pace>,
    cache_dir: PathBuf,
}

impl Device {
    fn begin(first: Request) -> io::Result<Self> {
        let Request::Begin {
            epoch,
            threads,
            compute_share_cores,
            cache_dir,
        } = first
        else {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the first request must be Begin",
            ));
        };
        let threads =
            ThreadPool::new(threads).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(Self {
            epoch,
            stages: BTreeMap::new(),
            threads: Arc::new(threads),
            pace: compute_share_cores.map(Pace::new),
            cache_dir,
        })
    }

    fn answer(&mut self, request: Request, progress: &mut dyn FnMut(f32)) -> Result<Reply> {
        match request {
            Request::Begin { .. } => Err(Error::invalid("request", "Begin", "it is the first one only")),
            Request::Share {
                threads,
                compute_share_cores,
            } => self.share(threads, compute_share_cores).map(|()| Reply::Done),
            Request::Load(stage) => self.load(stage, progress).map(Reply::Loaded),
            Request::Unload(id) => self.unload(&id).map(|()| Reply::Done),
            Request::Execute(batch) => self.execute(&batch).map(Reply::Output),
            Request::Truncate {
                epoch,
                stage,
                slot,
                keep_positions,
            } => self
                .truncate(epoch, &stage, slot, keep_positions)
                .map(|()| Reply::Done),
            Request::Benchmark {
                model_path,
                model_digest,
            } => benchmark::run(self, model_path, model_digest).map(Reply::Benchmark),
        }
    }

    fn share(&mut self, threads: u32, compute_share_cores: Option<f64>) -> Result<()> {
        if threads != self.num_threads() {
            self.threads = Arc::new(ThreadPool::new(threads)?);
            for stage in self.stages.values_mut() {
                stage.use_threads(Arc::clone(&self.threads));
            }
        }
        self.pace = compute_share_cores.map(Pace::new);
        Ok(())
    }

    pub(crate) fn load(&mut self, stage: LoadStage, progress: &mut dyn FnMut(f32)) -> Result<Description> {
        let began = Instant::now();
        let id = stage.id.clone();
        if self.stages.contains_key(&id) {
            return Err(Error::StageExists {
                stage: id.to_string(),
            });
        }
        let loaded = LoadPlan::of(stage)?.load(&self.cache_dir, Arc::clone(&self.threads), progress)?;
        let description = Description {
            roles: loaded.roles,
            embedding_length: loaded.embedding_length(),
            vocabulary: loaded.vocabulary(),
            took: began.elapsed(),
        };
        self.stages.insert(id, loaded);
        Ok(description)
    }

    pub(crate) fn unload(&mut self, id: &StageId) -> Result<()> {
        self.stages.remove(id).ok_or_else(|| no_such(id)).map(drop)
    }

    pub(crate) fn truncate(
        &mut self,
        epoch: Epoch,
        stage: &StageId,
        slot: u32,
        keep_positions: u32,
    ) -> Result<()> {
        self.stage(epoch, stage)?.truncate(slot, keep_positions)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn num_threads(&self) -> u32 {
        self.threads.num_threads()
    }

    pub(crate) fn share_cores(&self) -> Option<f64> {
        self.pace.as_ref().map(Pace::share_cores)
    }

    pub(crate) fn execute(&mut self, batch: &Batch) -> Result<BatchOutput> {
        let (began, cpu_before) = (Instant::now(), system::processor_time());
        let mut output = self.stage(batch.epoch, &batch.stage)?.execute(batch)?;
        output.cpu = system::processor_time().saturating_sub(cpu_before);
        if let Some(pace) = &mut self.pace {
            thread::sleep(pace.wait(began, output.cpu, Instant::now()));
        }
        output.wall = began.elapsed();
        Ok(output)
    }

    fn stage(&mut self, epoch: Epoch, id: &StageId) -> Result<&mut LoadedStage> {
        if epoch != self.epoch {
            return Err(Error::Epoch {
                expected: epoch.0,
                current: self.epoch.0,
            });
        }
        self.stages.get_mut(id).ok_or_else(|| no_such(id))
    }
}

fn no_such(id: &StageId) -> Error {
    Error::NoSuchStage {
        stage: id.to_string(),
    }
}
