//! The proxy before a real server: each fault as a client sees it.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A service that answers each line with a line of so many bytes, the first of them being those of the question.
async fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                    let mut line = buffer[..count].to_vec();
                    line.resize(1_000, b'.');
                    if socket.write_all(&line).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address.to_string()
}

async fn proxy(faults: Vec<Fault>) -> (SocketAddr, Arc<Proxy>) {
    let script = Script { seed: 7, steps: vec![Step { for_ms: None, faults }] };
    let proxy = Arc::new(Proxy::new(service().await, script.checked().unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = proxy.clone();
    tokio::spawn(async move { running.run(listener).await });
    (address, proxy)
}

/// Asks once, and reads to the end of a whole answer or of the connection.
async fn ask(client: &mut TcpStream) -> std::io::Result<usize> {
    client.write_all(b"x").await?;
    let mut answer = [0; 1_000];
    let mut read = 0;
    while read < answer.len() {
        match client.read(&mut answer[read..]).await? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}

async fn once(fault: Fault) -> std::io::Result<usize> {
    let (address, _) = proxy(vec![fault]).await;
    ask(&mut TcpStream::connect(address).await.unwrap()).await
}

#[tokio::test]
async fn without_faults_everything_passes() {
    let (address, proxy) = proxy(Vec::new()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&mut client).await.unwrap(), 1_000);
    }
    assert_eq!(proxy.told(), "1 connections, 3 exchanges");
}

#[tokio::test]
async fn an_answer_is_cut_where_the_script_says() {
    let at = |kind, after_bytes| Fault { after_bytes, ..Fault::every(kind) };
    assert_eq!(once(at(Kind::Truncate, 10)).await.unwrap(), 10);
    assert_eq!(once(at(Kind::Truncate, 0)).await.unwrap(), 0);
    let reset = once(at(Kind::Reset, 0)).await;
    assert_eq!(reset.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(once(Fault { ms: 1, ..at(Kind::Stall, 10) }).await.unwrap(), 1_000);
}

#[tokio::test]
async fn times_are_kept() {
    let start = Instant::now();
    assert_eq!(once(Fault { ms: 60, ..Fault::every(Kind::Latency) }).await.unwrap(), 1_000);
    assert!(start.elapsed() >= Duration::from_millis(60));
    let start = Instant::now();
    // 1,000 bytes at 4 KiB a second, the last piece without its pause.
    assert_eq!(once(Fault { kib_s: 4, ..Fault::every(Kind::Bandwidth) }).await.unwrap(), 1_000);
    assert!(start.elapsed() >= Duration::from_millis(200));
    let start = Instant::now();
    assert_eq!(once(Fault { ms: 80, ..Fault::every(Kind::Stall) }).await.unwrap(), 1_000);
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_half_open_connection_says_nothing() {
    let (address, _) = proxy(vec![Fault::every(Kind::HalfOpen)]).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(100), ask(&mut client)).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn an_error_is_answered_in_place_of_the_service() {
    let fault = Fault { status: 429, retry_after_s: Some(2), ..Fault::every(Kind::Error) };
    let (address, proxy) = proxy(vec![fault]).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 429 ") && text.contains("\r\nRetry-After: 2\r\n"), "{text}");
    assert_eq!(proxy.told(), "1 connections, 1 exchanges, 1 error");
}

#[test]
fn the_same_seed_hits_the_same_exchanges() {
    let faults = [
        Fault { share: 0.3, ms: 10, jitter_ms: 50, ..Fault::every(Kind::Latency) },
        Fault { share: 0.1, ..Fault::every(Kind::Reset) },
    ];
    let throws = |seed: u64| -> Vec<_> {
        (0..100)
            .flat_map(|c| (0..10).map(move |e| (c, e)))
            .map(|(c, e)| dice::throw(seed, c, e, &faults))
            .collect()
    };
    assert_eq!(throws(1), throws(1));
    assert_ne!(throws(1), throws(2));
    let count = |kind: Kind| throws(1).iter().filter(|(_, hits)| hits.contains(&kind)).count();
    assert!((250..350).contains(&count(Kind::Latency)), "{}", count(Kind::Latency));
    assert!((70..130).contains(&count(Kind::Reset)), "{}", count(Kind::Reset));
}

#[test]
fn steps_follow_one_another() {
    let script = "seed: 3\nsteps:\n- for_ms: 100\n- { for_ms: 50, faults: [{ kind: reset }] }\n- {}\n";
    let script = Script::read(script).unwrap();
    let at = |ms| script.faults_at(Duration::from_millis(ms)).len();
    assert_eq!([at(0), at(99), at(100), at(149), at(150), at(1_000_000)], [0, 0, 1, 1, 0, 0]);
}

#[test]
fn a_script_that_makes_no_sense_is_refused() {
    for (script, why) in [
        ("steps: [{ faults: [{ kind: explode }] }]", "explode"),
        ("steps: [{ faults: [{ kind: latency }] }]", "latency needs ms"),
        ("steps: [{ faults: [{ kind: reset, ms: 5 }] }]", "reset has no ms"),
        ("steps: [{ faults: [{ kind: reset, share: 1.5 }] }]", "between 0 and 1"),
        ("steps: [{ faults: [{ kind: error, status: 200 }] }]", "from 400 to 599"),
        ("steps: [{ faults: [{ kind: bandwidth }] }]", "needs kib_s"),
        ("steps: [{}, { for_ms: 1 }]", "step 1: it never ends"),
        ("stops: []", "stops"),
    ] {
        let error = Script::read(script).unwrap_err().to_string();
        assert!(error.contains(why), "{script}: {error}");
    }
}
