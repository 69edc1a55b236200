//! Running a command: started in a process group of its own, fed, read within bounds, and ended with all that it has
//! started when its time is over or nobody waits for it any more.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use crate::Error;

/// Variables that every command gets.
const INHERITED: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "TMPDIR"];

/// How long what a command wrote last may still be on its way after its end. What it has left running behind may
/// hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How much of the end of standard error is kept, in bytes.
const STDERR_TAIL: usize = 8 << 10;

/// Where and with what environment commands run.
#[derive(Clone, Debug)]
pub struct Place {
    /// The working directory.
    pub cwd: PathBuf,
    /// Variables, beside the few that every command gets.
    pub env: Vec<(String, trunkline_model::Secret)>,
    /// Variables of this process that are passed on.
    pub inherit_env: Vec<String>,
}

/// A command to run.
#[derive(Debug)]
pub struct Run<'a> {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it is given on standard input.
    pub stdin: Option<Bytes>,
    /// How much of standard output is kept, in bytes.
    pub max_output: usize,
    /// When it is killed.
    pub deadline: Instant,
}

/// How a command came to its end, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The beginning of standard output.
    pub stdout: Vec<u8>,
    /// How many bytes of standard output were cut off.
    pub cut: u64,
    /// The end of standard error.
    pub stderr: String,
}

/// A running command. Dropping it kills its group.
struct Group {
    child: Child,
    group: Option<Pid>,
}

impl Group {
    fn kill(&self) {
        if let Some(group) = self.group {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once the child has been waited for, its number may belong to someone else.
        if self.child.id().is_some() {
            self.kill();
        }
    }
}

impl Place {
    fn spawn(&self, run: &Run<'_>) -> Result<Group, Error> {
        let mut command = Command::new(run.program);
        command.args(&run.arguments).env_clear().process_group(0).kill_on_drop(true).current_dir(&self.cwd);
        command.stdin(if run.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in INHERITED.into_iter().chain(self.inherit_env.iter().map(String::as_str)) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, value) in &self.env {
            command.env(name, value.expose());
        }
        let child = command.spawn().map_err(|error| Error::ProcessStart {
            program: run.program.to_owned(),
            cause: error.to_string(),
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Group { child, group })
    }

    /// Runs a command to its end. Dropping the future kills it.
    ///
    /// # Errors
    /// It can't be started, talked to, or does not end before the deadline.
    pub async fn run(&self, run: Run<'_>) -> Result<Finished, Error> {
        let started = Instant::now();
        let mut group = self.spawn(&run)?;
        let stdout = Mutex::new(Capture::head(run.max_output));
        let stderr = Mutex::new(Capture::tail(STDERR_TAIL));
        let streams = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
        let ended = tokio::time::timeout_at(run.deadline.into(), async {
            let (stdin, out, err) = streams;
            let mut talk = std::pin::pin!(async {
                tokio::join!(feed(stdin, run.stdin.as_ref()), drain(out, &stdout), drain(err, &stderr))
            });
            tokio::select! {
                _ = &mut talk => group.child.wait().await,
                status = group.child.wait() => {
                    if tokio::time::timeout(LAST_WORDS, &mut talk).await.is_err() {
                        // Something holds its output open, so its group still exists and the number is its own.
                        group.kill();
                        let _ = tokio::time::timeout(LAST_WORDS, &mut talk).await;
                    }
                    status
                }
            }
        });
        let status = match ended.await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                return Err(Error::ProcessPipe { program: run.program.to_owned(), cause: error.to_string() });
            }
            Err(_) => {
                drop(group);
                return Err(Error::ProcessTimedOut {
                    program: run.program.to_owned(),
                    limit: run.deadline.saturating_duration_since(started),
                    said: said(&stderr.into_inner().text()),
                });
            }
        };
        let (stdout, stderr) = (stdout.into_inner(), stderr.into_inner());
        let finished = Finished { status, cut: stdout.lost, stdout: stdout.bytes, stderr: stderr.text() };
        match status.signal() {
            Some(signal) => Err(Error::ProcessSignal {
                program: run.program.to_owned(),
                signal,
                said: said(&finished.stderr),
            }),
            None => Ok(finished),
        }
    }
}

/// The end of standard error for an error message.
fn said(stderr: &str) -> String {
    if stderr.trim().is_empty() { String::new() } else { format!(": {}", stderr.trim()) }
}

/// What is kept of a stream.
struct Capture {
    bytes: Vec<u8>,
    limit: usize,
    keep_end: bool,
    lost: u64,
}

impl Capture {
    /// Keeps the first `limit` bytes.
    fn head(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, keep_end: false, lost: 0 }
    }

    /// Keeps the last `limit` bytes.
    fn tail(limit: usize) -> Self {
        Self { keep_end: true, ..Self::head(limit) }
    }

    fn add(&mut self, chunk: &[u8]) {
        if self.keep_end {
            self.bytes.extend_from_slice(chunk);
            // Twice the limit before anything is moved: each byte is then moved once at most.
            if self.bytes.len() > self.limit * 2 {
                let over = self.bytes.len() - self.limit;
                self.bytes.drain(..over);
                self.lost += over as u64;
            }
            return;
        }
        let room = self.limit - self.bytes.len();
        let kept = chunk.len().min(room);
        self.bytes.extend_from_slice(&chunk[..kept]);
        self.lost += (chunk.len() - kept) as u64;
    }

    fn text(&self) -> String {
        let start = if self.keep_end { self.bytes.len().saturating_sub(self.limit) } else { 0 };
        String::from_utf8_lossy(&self.bytes[start..]).into_owned()
    }
}

/// Writes the input and closes it. A command need not read what it is given.
async fn feed(stdin: Option<ChildStdin>, input: Option<&Bytes>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
    }
}

/// Reads a stream to its end, also what is not kept: a command must not block on a full pipe.
async fn drain(stream: Option<impl AsyncRead + Unpin>, capture: &Mutex<Capture>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        capture.lock().add(&buffer[..count]);
    }
}
