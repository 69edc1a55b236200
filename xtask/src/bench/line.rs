//! HTTP/1.1 over connections that are kept, and as many clients as are wanted, each asking again as soon as it is
//! answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::load::median;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A request: where it goes and what it is.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) headers: &'static str,
    pub(super) body: String,
    /// What is in every good answer.
    pub(super) expect: &'static str,
}

/// A connection.
pub(super) struct Line(BufReader<TcpStream>);

impl Line {
    pub(super) fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and gives the status and body of the answer.
    pub(super) fn ask(&mut self, method: &str, ask: &Ask) -> anyhow::Result<(u16, String)> {
        let Ask { port, path, headers, body, .. } = ask;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{headers}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let head = head(&mut self.0)?.context("the connection was closed")?;
        let status = head.first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut body = vec![0; head.length];
        self.0.read_exact(&mut body)?;
        let mut more = head.chunked;
        while more {
            let mut size = String::new();
            self.0.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16)?;
            let start = body.len();
            body.resize(start + size + 2, 0);
            self.0.read_exact(&mut body[start..])?;
            body.truncate(start + size);
            more = size > 0;
        }
        Ok((status.context("an answer without a status")?, String::from_utf8(body)?))
    }

    /// Sends a request that has to be answered well.
    pub(super) fn post(&mut self, ask: &Ask) -> anyhow::Result<String> {
        let (status, body) = self.ask("POST", ask)?;
        if !(200..300).contains(&status) || !body.contains(ask.expect) {
            bail!("POST {}: {status} {body}", ask.path);
        }
        Ok(body)
    }
}

/// The head of a request or an answer, as far as it is looked at.
pub(super) struct Head {
    pub(super) first: String,
    pub(super) length: usize,
    chunked: bool,
}

/// Reads a head; `None` where the other side has closed the connection.
pub(super) fn head(from: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let mut first = String::new();
    if from.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut head = Head { first, length: 0, chunked: false };
    let mut line = String::new();
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { return Ok(Some(head)) };
        if name.eq_ignore_ascii_case("content-length") {
            head.length = value.trim().parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
}

/// What a load came to.
pub(super) struct Figures {
    pub(super) per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u32,
}

/// Lets so many clients ask for so long.
pub(super) fn load(ask: &Ask, clients: u32, seconds: f64) -> anyhow::Result<Figures> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let client = || -> anyhow::Result<(Vec<f64>, u32)> {
        let (mut line, mut times, mut errors) = (Line::open(ask.port)?, Vec::new(), 0);
        while Instant::now() < end {
            let start = Instant::now();
            match line.post(ask) {
                Ok(_) => times.push(start.elapsed().as_secs_f64() * 1000.0),
                Err(error) => {
                    if errors == 0 {
                        eprintln!("{error:#}");
                    }
                    errors += 1;
                    line = Line::open(ask.port)?;
                }
            }
        }
        Ok((times, errors))
    };
    let (mut times, mut errors) = (Vec::new(), 0);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        for thread in threads {
            let (more, failed) = thread.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??;
            times.extend(more);
            errors += failed;
        }
        Ok(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN);
    Ok(Figures { per_s: f64::from(count) / took, p50_ms: median(times), p99_ms: p99, errors })
}
