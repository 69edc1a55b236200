//! `trunkline top`: what the gateway does right now, on a terminal.

mod draw;
mod exposition;
mod look;
mod view;

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::client::{Client, ServerArgs};
use super::output::{Format, print_data};
use super::stop::Stop;
use super::{OutputArgs, block_on};
use draw::Screen;
use look::Look;
use view::View;

/// Rates and times are of the last looks, so many at most.
const LOOKS: usize = 11;

/// The longest that may be between two looks, in milliseconds.
const SLOWEST_MS: u64 = 60_000;

/// Show services, tools, flows and alerts, live.
///
/// Keys: q ends, p pauses, s sorts the tools by another column, the arrows move through them. Where the output is no terminal,
/// what there is is printed once.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// Milliseconds between two looks.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=SLOWEST_MS))]
    interval: u64,
    /// Print what there is once, in place of showing it live.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Top {
    pub(super) fn run(self) -> Result<(), Stop> {
        let client = self.server.client()?;
        let interval = Duration::from_millis(self.interval);
        let live = !self.once && self.output.output == Format::Table && std::io::stdout().is_terminal();
        if live {
            return block_on(watch(client, interval));
        }
        let view = block_on(async {
            let first = Look::take(&client).await?;
            tokio::time::sleep(interval).await;
            Ok(View::new(&client.server(), &first, &Look::take(&client).await?))
        })?;
        Ok(print_data(self.output.output, &view, view::to_text)?)
    }
}

/// Shows what there is until a key ends it. A gateway that is away for a while is waited for.
async fn watch(client: Client, interval: Duration) -> Result<(), Stop> {
    let server = client.server();
    let mut looks = VecDeque::from([Look::take(&client).await?]);
    let mut seen = look_again(client, interval);
    let mut keys = keys();
    let mut terminal = ratatui::try_init()?;
    let mut screen = Screen::new(super::env("NO_COLOR").is_none());
    let ended = loop {
        if let (Some(first), Some(last)) = (looks.front(), looks.back()) {
            let view = View::new(&server, first, last);
            if let Err(error) = terminal.draw(|frame| screen.draw(frame, &view)) {
                break Err(Stop::from(error));
            }
        }
        tokio::select! {
            key = keys.recv() => match key {
                Some(Event::Key(key)) if ends(&key) => break Ok(()),
                Some(Event::Key(key)) => screen.key(&key),
                // The window has another size, and is drawn anew.
                Some(_) => {}
                None => break Ok(()),
            },
            look = seen.recv() => match look {
                Some(Ok(_)) if screen.is_paused() => {}
                Some(Ok(look)) => {
                    screen.trouble = None;
                    looks.push_back(look);
                    if looks.len() > LOOKS {
                        looks.pop_front();
                    }
                }
                Some(Err(stop)) => screen.trouble = Some(stop.reason()),
                None => break Ok(()),
            },
        }
    };
    ratatui::restore();
    ended
}

/// Looks again and again, one look at a time.
fn look_again(client: Client, interval: Duration) -> mpsc::Receiver<Result<Look, Stop>> {
    let (give, take) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            if give.send(Look::take(&client).await).await.is_err() {
                return;
            }
        }
    });
    take
}

/// What is typed. Reading waits, and so has a thread of its own, which ends with the process.
fn keys() -> mpsc::Receiver<Event> {
    let (give, take) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if give.blocking_send(event).is_err() {
                return;
            }
        }
    });
    take
}

fn ends(key: &KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
