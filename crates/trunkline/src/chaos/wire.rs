//! A connection through the proxy, with its faults.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::dice::{Cut, Lot, throw};

/// How much is read at a time.
const BUFFER: usize = 16 << 10;

/// How long a service may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a client that was answered with an error may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// A narrow connection passes on so many times a second.
const PIECES: u64 = 50;

/// How a connection ends.
enum End {
    /// As the service ended it.
    Closed,
    Reset,
    Truncated,
    /// With an answer of ours.
    Answer(String),
}

/// The exchange that a connection is at.
struct Exchange {
    number: u64,
    lot: Lot,
    /// The service has spoken: what the client sends next begins another exchange.
    spoken: bool,
}

/// What may be passed on of an answer.
enum Portion {
    Pass(usize),
    Cut(Cut),
}

/// Carries a connection from its beginning to its end.
pub(super) async fn connection(shared: &Shared, mut client: TcpStream, number: u64) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Ok(Ok(mut server)) = timeout(CONNECT, TcpStream::connect(&shared.to)).await else {
        // As if nobody listened.
        return client.set_zero_linger();
    };
    server.set_nodelay(true)?;
    let exchange = Mutex::new(Exchange { number: 0, lot: draw(shared, number, 0), spoken: false });
    let end = {
        let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
        tokio::select! {
            end = upwards(shared, number, &exchange, client_read, server_write) => end,
            end = downwards(&exchange, server_read, client_write) => end,
        }
    };
    match end? {
        End::Closed => client.shutdown().await,
        End::Truncated => Ok(()),
        End::Reset => client.set_zero_linger(),
        End::Answer(answer) => {
            client.write_all(answer.as_bytes()).await?;
            client.shutdown().await?;
            // What was still on its way would reset the connection, and the answer with it.
            let mut rest = [0; 1024];
            let reading = async { while client.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
            let _ = timeout(LINGER, reading).await;
            Ok(())
        }
    }
}

fn draw(shared: &Shared, connection: u64, exchange: u64) -> Lot {
    let faults = shared.script.faults_at(shared.begun.elapsed());
    let (lot, hits) = throw(shared.script.seed, connection, exchange, faults);
    shared.counts.exchanges.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    hits.into_iter().for_each(|kind| shared.counts.hit(kind));
    lot
}

/// From the client to the service.
async fn upwards(
    shared: &Shared,
    connection: u64,
    exchange: &Mutex<Exchange>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<End> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            if exchange.lock().lot.half_open {
                // Nobody is left to be kept waiting.
                return Ok(End::Truncated);
            }
            to.shutdown().await?;
            // The answer may still be on its way.
            return std::future::pending().await;
        }
        let (half_open, error) = {
            let mut exchange = exchange.lock();
            if exchange.spoken {
                let number = exchange.number + 1;
                *exchange = Exchange { number, lot: draw(shared, connection, number), spoken: false };
            }
            (exchange.lot.half_open, exchange.lot.error)
        };
        if let Some((status, retry_after)) = error {
            return Ok(End::Answer(answer(status, retry_after)));
        }
        if !half_open {
            to.write_all(&buffer[..count]).await?;
        }
    }
}

/// From the service to the client.
async fn downwards(
    exchange: &Mutex<Exchange>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<End> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if exchange.lock().lot.half_open {
            // The client hears nothing more, not even the end; its own end is heard upwards.
            if count == 0 {
                return std::future::pending().await;
            }
            continue;
        }
        if count == 0 {
            return Ok(End::Closed);
        }
        let latency = {
            let exchange = exchange.lock();
            if exchange.spoken { Duration::ZERO } else { exchange.lot.latency }
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        exchange.lock().spoken = true;
        let mut rest = &buffer[..count];
        loop {
            let (portion, bandwidth) = {
                let mut exchange = exchange.lock();
                (exchange.lot.portion(rest.len()), exchange.lot.bandwidth)
            };
            match portion {
                Portion::Cut(Cut::Reset) => return Ok(End::Reset),
                Portion::Cut(Cut::Truncate) => return Ok(End::Truncated),
                Portion::Cut(Cut::Stall(time)) => sleep(time).await,
                Portion::Pass(0) => break,
                Portion::Pass(length) => {
                    to.write_all(&rest[..length]).await?;
                    rest = &rest[length..];
                    if let Some(rate) = bandwidth {
                        sleep(Duration::from_secs(1).mul_f64(share(length, rate))).await;
                    }
                }
            }
        }
    }
}

impl Lot {
    /// What happens next to an answer of which `length` bytes wait.
    fn portion(&mut self, length: usize) -> Portion {
        let mut most = length as u64;
        if let Some(rate) = self.bandwidth {
            most = most.min((rate / PIECES).max(1));
        }
        match &mut self.cut {
            Some((0, cut)) => {
                let cut = *cut;
                self.cut = None;
                Portion::Cut(cut)
            }
            Some((left, _)) => {
                most = most.min(*left);
                *left -= most;
                Portion::Pass(usize::try_from(most).unwrap_or(length))
            }
            None => Portion::Pass(usize::try_from(most).unwrap_or(length)),
        }
    }
}

fn share(length: usize, rate: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "bytes of one piece and of a second")]
    let share = length as f64 / rate.max(1) as f64;
    share
}

/// An HTTP error that ends its connection.
fn answer(status: u16, retry_after: Option<u64>) -> String {
    let retry_after = retry_after.map(|after| format!("Retry-After: {after}\r\n")).unwrap_or_default();
    let body = format!(r#"{{"status":{status},"title":"Fault","detail":"trunkline chaos"}}"#);
    format!(
        "HTTP/1.1 {status} Fault\r\nContent-Type: application/problem+json\r\n{retry_after}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}
