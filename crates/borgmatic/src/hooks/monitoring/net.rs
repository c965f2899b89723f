//! Requests to services over HTTP, each with a time limit for all of it.
//!
//! Certificates are verified with those that the machine trusts: `SSL_CERT_FILE`,
//! `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name a file with others. `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY` and `NO_PROXY` (also in small letters) are obeyed. Messages do not repeat addresses,
//! for keys stand in them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use data_encoding::BASE64;
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

/// Where Linux distributions keep the certificates that a machine trusts.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The most of an answer that is read.
const MOST_BYTES: u64 = 1 << 20;

/// The longest file with certificates that is read.
const MOST_PEM_BYTES: u64 = 16 << 20;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It asks.
    Get,
    /// It brings something.
    Post,
}

/// A request.
pub struct Request<'a> {
    /// What it does.
    pub method: Method,
    /// The address; a name and password in it are sent as basic authentication.
    pub url: &'a str,
    /// Headers beside those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// What it brings.
    pub body: Vec<u8>,
    /// Whether the server must prove who it is.
    pub verify: bool,
    /// Files with the certificate and key by which we prove who we are.
    pub client: Option<(&'a Path, &'a Path)>,
}

impl<'a> Request<'a> {
    /// A request that asks.
    pub fn get(url: &'a str) -> Self {
        Self {
            method: Method::Get,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            verify: true,
            client: None,
        }
    }

    /// A request that brings `body`.
    pub fn post(url: &'a str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: Method::Post,
            body: body.into(),
            ..Self::get(url)
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The server refuses.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// It does not answer.
    #[error("no answer within {} seconds", .0.as_secs())]
    Late(Duration),
    /// A file of certificates cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to verify servers with.
    #[error("no file with trusted certificates was found: install ca-certificates")]
    NoTrust,
    /// The address is none.
    #[error("the address is not valid")]
    Address,
    /// The proxy cannot be used.
    #[error("{variable} does not name a proxy")]
    Proxy {
        /// The variable that names it.
        variable: &'static str,
    },
    /// The connection failed.
    #[error("{0}")]
    Other(ureq::Error),
}

/// The way to services; clones share what was read.
#[derive(Clone)]
pub struct Net(Arc<Inner>);

struct Inner {
    variables: BTreeMap<OsString, OsString>,
    trusted: OnceLock<RootCerts>,
}

impl Net {
    /// Makes one that goes by these variables of the environment.
    pub fn new(variables: &BTreeMap<OsString, OsString>) -> Self {
        Self(Arc::new(Inner {
            variables: variables.clone(),
            trusted: OnceLock::new(),
        }))
    }

    /// Sends a request and returns what the server answered.
    ///
    /// # Errors
    /// When the server refuses, is not there, or is not done within `limit`.
    pub fn send(&self, request: &Request<'_>, limit: Duration) -> Result<String, NetError> {
        let (url, login) = split_login(&escaped(request.url));
        let uri: Uri = url.parse().map_err(|_| NetError::Address)?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(NetError::Address);
        }
        let agent = self.agent(&uri, request, limit)?;
        let has_login = |(name, _): &(&str, String)| *name == "Authorization";
        let login = login.filter(|_| !request.headers.iter().any(has_login));
        let headers = request.headers.iter().cloned();
        let headers = headers.chain(login.map(|login| ("Authorization", login)));
        let sent = match request.method {
            Method::Get => {
                let request =
                    headers.fold(agent.get(uri), |all, (name, value)| all.header(name, value));
                request.call()
            }
            Method::Post => {
                let post = headers.fold(agent.post(uri), |all, (name, value)| {
                    all.header(name, value)
                });
                match request.body.is_empty() {
                    true => post.send_empty(),
                    false => post.send(request.body.as_slice()),
                }
            }
        };
        let answer = sent.and_then(|mut answer| {
            let body = answer.body_mut().with_config().limit(MOST_BYTES);
            body.read_to_vec()
        });
        match answer {
            Ok(body) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(ureq::Error::StatusCode(code)) => Err(NetError::Status(code)),
            Err(ureq::Error::Timeout(_)) => Err(NetError::Late(limit)),
            Err(error) => Err(NetError::Other(error)),
        }
    }

    fn agent(&self, uri: &Uri, request: &Request<'_>, limit: Duration) -> Result<Agent, NetError> {
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .disable_verification(!request.verify);
        let nobody = || RootCerts::new_with_certs(&[]);
        tls = tls.root_certs(match (request.verify, uri.scheme_str()) {
            (true, Some("https")) => self.trusted()?,
            // A redirection may lead to an encrypted connection.
            (true, _) => self.trusted().unwrap_or_else(|_| nobody()),
            (false, _) => nobody(),
        });
        if let Some((certificate, key)) = request.client {
            tls = tls.client_cert(Some(client(certificate, key)?));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(limit))
            .proxy(self.proxy(uri)?)
            .user_agent("borgmatic")
            .tls_config(tls.build());
        Ok(config.build().new_agent())
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.0.variables.get(&OsString::from(name))?.to_str()?;
        (!value.is_empty()).then_some(value)
    }

    fn trusted(&self) -> Result<RootCerts, NetError> {
        if let Some(trusted) = self.0.trusted.get() {
            return Ok(trusted.clone());
        }
        let trusted = RootCerts::new_with_certs(&certificates(self.trusted_file()?)?);
        Ok(self.0.trusted.get_or_init(|| trusted).clone())
    }

    /// The file with the certificates that the machine trusts.
    ///
    /// # Errors
    /// When there is none.
    pub fn trusted_file(&self) -> Result<&Path, NetError> {
        let named = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"];
        let named = named.iter().find_map(|name| self.variable(name));
        let usual = TRUSTED
            .iter()
            .copied()
            .find(|path| Path::new(path).exists());
        named.or(usual).map(Path::new).ok_or(NetError::NoTrust)
    }

    fn proxy(&self, uri: &Uri) -> Result<Option<Proxy>, NetError> {
        let names = match uri.scheme_str() {
            Some("https") => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        let found = names
            .into_iter()
            .find_map(|name| Some((name, self.variable(name)?)));
        let Some((variable, proxy)) = found else {
            return Ok(None);
        };
        let without = self
            .variable("no_proxy")
            .or_else(|| self.variable("NO_PROXY"));
        if is_excepted(uri.host().unwrap_or_default(), without.unwrap_or_default()) {
            return Ok(None);
        }
        let proxy = Proxy::new(proxy).map_err(|_| NetError::Proxy { variable })?;
        Ok(Some(proxy))
    }
}

/// Tells whether `NO_PROXY` names a host or a domain that it is in.
fn is_excepted(host: &str, without: &str) -> bool {
    without.split(',').map(str::trim).any(|name| {
        let name = name.trim_start_matches('.');
        let within = || {
            let rest = host.strip_suffix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        name == "*" || (!name.is_empty() && within())
    })
}

fn read_pem(path: &Path) -> Result<Vec<PemItem<'static>>, NetError> {
    use std::io::Read;
    let failed = |source| NetError::File {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MOST_PEM_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let items: Result<Vec<_>, _> = parse_pem(&bytes).collect();
    items.map_err(|_| failed(io::Error::other("is not a PEM file")))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, NetError> {
    let items = read_pem(path)?.into_iter();
    let found = items.filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(NetError::File {
            path: path.to_owned(),
            source: io::Error::other("holds no certificate"),
        }),
        false => Ok(found),
    }
}

fn client(certificate: &Path, key: &Path) -> Result<ClientCert, NetError> {
    let chain = certificates(certificate)?;
    let found = read_pem(key)?.into_iter().find_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    let key: PrivateKey<'static> = found.ok_or_else(|| NetError::File {
        path: key.to_owned(),
        source: io::Error::other("holds no private key"),
    })?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// Escapes what may not stand in an address as it is.
fn escaped(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for byte in url.trim().bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | ..=b' ' | 0x7f.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// Takes the name and password out of an address, as the header that brings them.
fn split_login(url: &str) -> (String, Option<String>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else {
        return whole();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let Some((login, host)) = authority.rsplit_once('@') else {
        return whole();
    };
    let (name, password) = login.split_once(':').unwrap_or((login, ""));
    let header = basic(&unescaped(name), &unescaped(password));
    (format!("{scheme}://{host}{path}"), Some(header))
}

/// The header of basic authentication.
pub fn basic(name: &str, password: &str) -> String {
    let both = format!("{name}:{password}");
    format!("Basic {}", BASE64.encode(both.as_bytes()))
}

/// Replaces the escapes of an address.
pub fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.split_at_checked(2).filter(|_| *first == b'%');
        let decoded = digits.and_then(|(digits, tail)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, tail))
        });
        let (byte, tail) = decoded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Escapes text for the query of an address or a form; `safe` bytes stay as they are.
pub fn quoted(text: &str, safe: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte if safe.contains(&byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Writes the fields of a form.
pub fn form<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pair = |(name, value): (&str, String)| {
        let value = quoted(&value, b" ").replace(' ', "+");
        format!("{}={value}", quoted(name, b""))
    };
    fields.into_iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_login_and_gain_escapes() {
        let (url, login) = split_login("https://me:p%40ss@host:8080/a@b?x=1");
        assert_eq!(url, "https://host:8080/a@b?x=1");
        assert_eq!(login.unwrap(), basic("me", "p@ss"));
        assert_eq!(split_login("http://host/a@b").0, "http://host/a@b");
        assert_eq!(
            escaped(" http://h/a b?x=\u{e4}%20 "),
            "http://h/a%20b?x=%C3%A4%20"
        );
        assert_eq!(unescaped("a%2Fb%zz%4"), "a/b%zz%4");
        assert_eq!(
            form([("a", "x y&\u{e4}".into()), ("b", "1".into())]),
            "a=x+y%26%C3%A4&b=1"
        );
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (host, without, excepted) in [
            ("localhost", "localhost,127.0.0.1", true),
            ("a.example.org", ".example.org", true),
            ("a.example.org", "example.org", true),
            ("anexample.org", "example.org", false),
            ("example.org", "", false),
            ("example.org", "*", true),
        ] {
            assert_eq!(is_excepted(host, without), excepted, "{host} {without}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        let net = Net::new(&BTreeMap::new());
        for url in ["", "nonsense", "ftp://host/secret", "http:///secret"] {
            let error = net
                .send(&Request::get(url), Duration::from_secs(1))
                .unwrap_err();
            assert_eq!(error.to_string(), "the address is not valid", "{url}");
        }
    }
}
