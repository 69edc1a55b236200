//! Asks name servers, by `hickory-resolver`, without its cache: how long an answer is used is said here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::config::Config;
use crate::source::{Error, MAX_INSTANCES};

/// How long one question to one server may take, and how often it is asked again.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 1;

/// The usual port of a name server.
const PORT: u16 = 53;

/// Name servers.
#[derive(Clone)]
pub struct Client {
    resolver: TokioResolver,
    name: String,
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
}

/// What an SRV record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// Records, and how long they may be used; none where there are none.
pub(super) struct Answer<T> {
    pub(super) records: Vec<T>,
    pub(super) ttl: Duration,
}

impl Client {
    /// A client for these servers. Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] where what is configured, or the system's configuration, can't be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let wrong = |cause: String| Error::Config { source_name: "registry.dns".to_owned(), cause };
        let (min_ttl, max_ttl) =
            (Duration::from_millis(config.min_ttl_ms), Duration::from_millis(config.max_ttl_ms));
        if min_ttl > max_ttl || max_ttl.is_zero() {
            return Err(wrong("min_ttl_ms is above max_ttl_ms, or both are 0".to_owned()));
        }
        let mut builder = if config.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| wrong(error.to_string()))?
        } else {
            let servers: Result<Vec<_>, String> = config.servers.iter().map(|text| server(text)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.map_err(wrong)?);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        let name = match config.servers.first() {
            Some(first) => format!("DNS at {first}"),
            None => "DNS".to_owned(),
        };
        let resolver = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { resolver, name, min_ttl, max_ttl })
    }

    /// The name of the servers in messages.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// The addresses of a host. That there are none is an answer.
    pub(super) async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, Error> {
        let of = |data: &RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let (four, six) =
            tokio::join!(self.ask(name, RecordType::A, of), self.ask(name, RecordType::AAAA, of));
        match (four, six) {
            (Ok(four), Ok(six)) => {
                let ttl = match (four.records.is_empty(), six.records.is_empty()) {
                    (false, true) => four.ttl,
                    (true, false) => six.ttl,
                    _ => four.ttl.min(six.ttl),
                };
                let mut records = four.records;
                records.extend(six.records);
                Ok(Answer { records, ttl })
            }
            // A half is not the whole: it would take away the other half.
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The SRV records of a name. That there are none is an answer.
    pub(super) async fn srv(&self, name: &str) -> Result<Answer<Srv>, Error> {
        let of = |data: &RData| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_utf8(),
            }),
            _ => None,
        };
        self.ask(name, RecordType::SRV, of).await
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        of: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, Error> {
        // The whole name: nothing is searched below other domains.
        let whole = format!("{}.", name.trim_end_matches('.'));
        match self.resolver.lookup(whole, kind).await {
            Ok(lookup) => {
                let fitting =
                    lookup.answers().iter().filter_map(|record| Some((of(&record.data)?, record.ttl)));
                let (records, ttls): (Vec<T>, Vec<u32>) = fitting.take(MAX_INSTANCES).unzip();
                let ttl =
                    ttls.into_iter().min().map_or(self.min_ttl, |ttl| Duration::from_secs(u64::from(ttl)));
                Ok(Answer { records, ttl })
            }
            Err(error) if error.is_no_records_found() => {
                Ok(Answer { records: Vec::new(), ttl: self.min_ttl })
            }
            Err(error) => {
                let cause = format!("{kind} {name}: {error}");
                Err(Error::Unreachable { source_name: self.name(), cause })
            }
        }
    }
}

fn server(text: &str) -> Result<NameServerConfig, String> {
    let address = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)))
        .map_err(|_| format!("servers: {text:?} is no IP address, with or without a port"))?;
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server
        .connections
        .iter_mut()
        .for_each(|connection: &mut ConnectionConfig| connection.port = address.port());
    Ok(server)
}
