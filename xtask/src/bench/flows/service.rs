//! The small service that every step calls: it answers at once, or, where it is told to, when a gate is opened.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::line::head;

/// The service, which runs as long as the program.
pub(super) struct Service {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often each body came to `/hold`.
    held: HashMap<String, u32>,
    open: bool,
}

impl Service {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = state.clone();
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Ok(Self { port, shared })
    }

    /// Waits until so many different bodies have come to `/hold`, each at least `times` times.
    pub(super) fn held(&self, count: usize, times: u32, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.held.values().filter(|held| **held >= times).count() >= count {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes the gate, and forgets who came.
    pub(super) fn close(&self) {
        *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Opens the gate.
    pub(super) fn open(&self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.shared.changed.notify_all();
    }
}

/// Answers one connection to its end.
fn serve(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut from = BufReader::new(stream);
    while let Ok(Some(head)) = head(&mut from) {
        let mut body = vec![0; head.length];
        if from.read_exact(&mut body).is_err() {
            return;
        }
        if head.first.contains("/hold") {
            hold(shared, String::from_utf8_lossy(&body).into_owned());
        }
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"done\":true}";
        if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn hold(shared: &Shared, body: String) {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    *state.held.entry(body).or_default() += 1;
    shared.changed.notify_all();
    while !state.open {
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}
