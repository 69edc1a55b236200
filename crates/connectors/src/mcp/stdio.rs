//! A server as a child process that speaks over standard input and output, one message a line.

use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use trunkline_model::BoxFuture;

use super::channel::{Channel, Errand, Post};
use super::config::Config;
use super::error::Error;
use super::lines::{Line, Lines};

/// What a child inherits of our environment beside what is configured.
const INHERITED: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "TMPDIR"];

/// How long a child may take to end after its input was closed, and again after it was asked to end.
const GRACE: Duration = Duration::from_secs(2);

/// How long what a dead child wrote last may still be on its way.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How many lines that are no messages are shown.
const SHOWN_GARBAGE: u64 = 20;

/// A running child in a process group of its own. Dropping it kills the group.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts the configured command.
    pub(super) fn spawn(config: &Config) -> Result<Self, Error> {
        let Some((program, arguments)) = config.command.split_first() else {
            return Err(Error::Config("`command` is empty".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments).env_clear().process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in INHERITED.into_iter().chain(config.inherit_env.iter().map(String::as_str)) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, value) in &config.env {
            command.env(name, value.expose());
        }
        if let Some(cwd) = &config.cwd {
            command.current_dir(cwd);
        }
        let child = command
            .spawn()
            .map_err(|error| Error::Spawn { program: program.clone(), cause: error.to_string() })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Carries messages between the child and `channel` until the child ends or `stop` says so. Tells why it ended.
    pub(super) async fn run(
        mut self,
        channel: &Arc<Channel>,
        mut inbox: mpsc::Receiver<Post>,
        stop: &CancellationToken,
    ) -> String {
        let (stdin, stdout, stderr) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return "the process has no standard streams".to_owned();
        };
        let mut writing: BoxFuture<'_, ()> = Box::pin(write(stdin, &mut inbox));
        let mut reading = pin!(read(stdout, channel));
        let mut complaining = pin!(channel.hub.stderr.follow(stderr));
        let mut complained = false;
        let ended = loop {
            tokio::select! {
                () = &mut writing => {
                    // The child no longer reads; its end, or the end of its output, tells more.
                    writing = Box::pin(std::future::pending());
                }
                () = &mut complaining, if !complained => complained = true,
                () = &mut reading => break self.wait(LAST_WORDS).await,
                status = self.child.wait() => {
                    let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
                    break status.ok();
                }
                () = stop.cancelled() => {
                    drop(writing);
                    self.stop().await;
                    return "Trunkline is shutting down".to_owned();
                }
            }
        };
        if !complained {
            let _ = tokio::time::timeout(LAST_WORDS, complaining).await;
        }
        ending(ended, &channel.hub.stderr.tail(5))
    }

    async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(limit, self.child.wait()).await.ok().and_then(Result::ok)
    }

    /// Ends the child: its input is closed already, so it is waited for, asked, and killed.
    async fn stop(&mut self) {
        if self.wait(GRACE).await.is_none() {
            self.signal(Signal::TERM);
            let _ = self.wait(GRACE).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may be gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also what the child has started and left behind.
        self.signal(Signal::KILL);
    }
}

/// Writes messages as they come; several that wait are written at once.
async fn write(mut stdin: ChildStdin, inbox: &mut mpsc::Receiver<Post>) {
    let mut buffer = Vec::new();
    while let Some(message) = inbox.recv().await {
        buffer.clear();
        buffer.extend_from_slice(&message.body);
        buffer.push(b'\n');
        while buffer.len() < 64 << 10
            && let Ok(message) = inbox.try_recv()
        {
            buffer.extend_from_slice(&message.body);
            buffer.push(b'\n');
        }
        if stdin.write_all(&buffer).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

/// Reads messages until the end of the child's output.
async fn read(mut stdout: ChildStdout, channel: &Arc<Channel>) {
    let mut lines = Lines::new(channel.hub.config.max_response_bytes);
    let mut errands: FuturesUnordered<Errand> = FuturesUnordered::new();
    let mut garbage = 0;
    loop {
        while let Some(line) = lines.next() {
            match line {
                Line::Whole(line) if line.trim_ascii().is_empty() => {}
                Line::Whole(line) => match channel.take(&line) {
                    Ok(more) => errands.extend(more),
                    Err(error) => report_garbage(channel, &error, &mut garbage),
                },
                Line::TooLong(head) => too_long(channel, &head),
            }
        }
        lines.buffer.reserve(16 << 10);
        let mut reading = pin!(stdout.read_buf(&mut lines.buffer));
        let count = loop {
            tokio::select! {
                count = &mut reading => break count,
                Some(()) = errands.next() => {}
            }
        };
        if !matches!(count, Ok(1..)) {
            return;
        }
    }
}

fn report_garbage(channel: &Channel, error: &Error, count: &mut u64) {
    *count += 1;
    tracing::debug!(service = %channel.hub.id, %error, count, "a line on standard output is no message");
    if *count <= SHOWN_GARBAGE {
        channel
            .hub
            .stderr
            .push(format!("(standard output, line {count} that is no message) {error}").as_bytes());
    }
}

/// Fails the request that an endless line answers; all of them where the line does not say which.
fn too_long(channel: &Channel, head: &[u8]) {
    let error = Error::TooLarge(channel.hub.config.max_response_bytes);
    let text = String::from_utf8_lossy(head);
    let id = text.split_once("\"id\":").and_then(|(_, rest)| {
        let rest = rest.trim_start().trim_start_matches('"');
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest[..end].parse().ok()
    });
    match id {
        Some(id) => channel.flights.answer(id, Err(error)),
        None => channel.flights.fail_all(&error),
    }
}

fn ending(status: Option<ExitStatus>, last_words: &str) -> String {
    let how = match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("the process exited with code {code}"),
        Some((_, Some(signal))) => format!("the process was killed by signal {signal}"),
        _ => "the process closed its output".to_owned(),
    };
    if last_words.is_empty() { how } else { format!("{how}; it last wrote: {last_words}") }
}
