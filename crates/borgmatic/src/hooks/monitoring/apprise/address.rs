//! Addresses of the Apprise library, for the services known here, and the requests they mean.
//!
//! `SCHEMA://[USER[:PASSWORD]@]HOST[:PORT]/PATH[?OPTION=VALUE]`; what stands in which place is each
//! service's own matter. `verify=no` is understood everywhere; an option that is not known is refused.

use serde_json::{Value, json};

use super::super::net::{Method, Request, basic, unescaped};

/// The schemas, for messages.
const SCHEMAS: &str = "json, jsons, gotify, gotifys, ntfy, ntfys, discord, slack, tgram";

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something goes on.
    Info,
    /// Something went well.
    Success,
    /// Something did not.
    Failure,
}

/// A message.
pub struct Message {
    /// Its title; may be empty.
    pub title: String,
    /// Its text.
    pub body: String,
    /// What it is about.
    pub kind: Kind,
}

impl Message {
    /// Title and text for services that know no titles, at most `limit` characters.
    fn joined(&self, limit: usize) -> String {
        let both = match self.title.as_str() {
            "" => self.body.clone(),
            title => format!("{title}\n{}", self.body),
        };
        both.chars().take(limit).collect()
    }
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// It is none.
    #[error("is no address of Apprise, such as gotify://host/token")]
    Malformed,
    /// It names a service that is not known here.
    #[error("names the service {0:?}; Fastness speaks to {SCHEMAS}")]
    Schema(String),
    /// It is a mail address.
    #[error("is for e-mail, which has options of its own: use \"mail\" under \"fastness\"")]
    Mail,
    /// A part is missing.
    #[error("must be of the form {0}")]
    Form(&'static str),
    /// It has an option that is not known here.
    #[error("has the option {0:?}, which Fastness does not know for this service")]
    Option(String),
    /// An option has a value that makes no sense.
    #[error("has no valid value for the option {0:?}")]
    Value(&'static str),
}

/// A request that owns its parts.
pub struct Made {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    verify: bool,
}

impl Made {
    /// Returns the request to be sent.
    pub fn borrowed(&self) -> Request<'_> {
        Request {
            method: Method::Post,
            url: &self.url,
            headers: self.headers.clone(),
            body: self.body.clone().into_bytes(),
            verify: self.verify,
            client: None,
        }
    }
}

/// An address that was understood.
#[derive(Debug)]
pub struct Address {
    service: Service,
    verify: bool,
}

#[derive(Debug)]
enum Service {
    Json {
        url: String,
        login: Option<String>,
    },
    Gotify {
        url: String,
        token: String,
        priority: u8,
    },
    Ntfy {
        url: String,
        login: Option<String>,
        topics: Vec<String>,
    },
    Discord {
        id: String,
        token: String,
        user: Option<String>,
    },
    Slack {
        token: String,
        channels: Vec<String>,
    },
    Telegram {
        token: String,
        chats: Vec<String>,
    },
}

/// The parts of an address.
struct Parts {
    user: Option<String>,
    password: Option<String>,
    /// With its port.
    host: String,
    path: Vec<String>,
    options: Vec<(String, String)>,
}

impl Parts {
    fn read(rest: &str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(unescaped(user)), Some(unescaped(password))),
            Some(Err(user)) => (Some(unescaped(user)), None),
        };
        let path = path.split('/').filter(|part| !part.is_empty());
        let options = query.split('&').filter(|option| !option.is_empty());
        let option = |option: &str| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            (unescaped(name).to_lowercase(), unescaped(value))
        };
        Self {
            user,
            password,
            host: host.to_owned(),
            path: path.map(unescaped).collect(),
            options: options.map(option).collect(),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.options.iter().position(|(known, _)| known == name)?;
        Some(self.options.remove(index).1)
    }

    fn login(&self) -> Option<String> {
        let user = self.user.as_deref()?;
        Some(basic(user, self.password.as_deref().unwrap_or_default()))
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none, or is not understood to its end.
    pub fn read(text: &str) -> Result<Self, AddressError> {
        let (schema, rest) = text
            .trim()
            .split_once("://")
            .ok_or(AddressError::Malformed)?;
        let schema = schema.to_lowercase();
        let mut parts = Parts::read(rest);
        let verify = match parts.take("verify").as_deref() {
            None | Some("yes" | "true" | "1" | "on") => true,
            Some("no" | "false" | "0" | "off") => false,
            Some(_) => return Err(AddressError::Value("verify")),
        };
        if parts.host.is_empty() {
            return Err(AddressError::Malformed);
        }
        let web = match schema.ends_with('s') {
            true => format!("https://{}", parts.host),
            false => format!("http://{}", parts.host),
        };
        let service = match schema.as_str() {
            "json" | "jsons" => Service::Json {
                url: format!("{web}/{}", parts.path.join("/")),
                login: parts.login(),
            },
            "gotify" | "gotifys" => gotify(&web, &mut parts)?,
            "ntfy" | "ntfys" => ntfy(&web, &parts),
            "discord" => discord(&parts)?,
            "slack" => slack(&parts)?,
            "tgram" => telegram(&parts)?,
            "mailto" | "mailtos" => return Err(AddressError::Mail),
            _ => return Err(AddressError::Schema(schema)),
        };
        match parts.options.first() {
            Some((name, _)) => Err(AddressError::Option(name.clone())),
            None => Ok(Self { service, verify }),
        }
    }

    /// Makes the requests that bring a message there.
    pub fn requests(&self, message: &Message) -> Vec<Made> {
        let made = |url: &str, login: Option<(&'static str, String)>, body: Value| {
            let mut headers = vec![
                ("User-Agent", "Apprise".to_owned()),
                ("Content-Type", "application/json".to_owned()),
            ];
            headers.extend(login);
            Made {
                url: url.to_owned(),
                headers,
                body: body.to_string(),
                verify: self.verify,
            }
        };
        match &self.service {
            Service::Json { url, login } => {
                let login = login.clone().map(|login| ("Authorization", login));
                vec![made(url, login, json_body(message))]
            }
            Service::Gotify {
                url,
                token,
                priority,
            } => {
                let body = json!({ "priority": priority, "title": message.title, "message": message.body });
                vec![made(url, Some(("X-Gotify-Key", token.clone())), body)]
            }
            Service::Ntfy { url, login, topics } => {
                let request = |topic: &String| {
                    let login = login.clone().map(|login| ("Authorization", login));
                    let mut body = json!({ "topic": topic, "message": message.body });
                    if let Some(body) = body.as_object_mut().filter(|_| !message.title.is_empty()) {
                        body.insert("title".to_owned(), message.title.as_str().into());
                    }
                    made(url, login, body)
                };
                topics.iter().map(request).collect()
            }
            Service::Discord { id, token, user } => {
                let url = format!("https://discord.com/api/webhooks/{id}/{token}");
                let mut body = json!({ "content": message.joined(2000) });
                if let (Some(body), Some(user)) = (body.as_object_mut(), user) {
                    body.insert("username".to_owned(), user.as_str().into());
                }
                vec![made(&url, None, body)]
            }
            Service::Slack { token, channels } => {
                let url = format!("https://hooks.slack.com/services/{token}");
                let text = message.joined(35_000);
                let request = |channel: Option<&String>| {
                    let mut body = json!({ "text": text });
                    if let (Some(body), Some(channel)) = (body.as_object_mut(), channel) {
                        body.insert("channel".to_owned(), channel.as_str().into());
                    }
                    made(&url, None, body)
                };
                match channels.as_slice() {
                    [] => vec![request(None)],
                    channels => channels
                        .iter()
                        .map(|channel| request(Some(channel)))
                        .collect(),
                }
            }
            Service::Telegram { token, chats } => {
                let url = format!("https://api.telegram.org/bot{token}/sendMessage");
                let text = message.joined(4096);
                let request =
                    |chat: &String| made(&url, None, json!({ "chat_id": chat, "text": text }));
                chats.iter().map(request).collect()
            }
        }
    }
}

fn json_body(message: &Message) -> Value {
    json!({
        "version": "1.0",
        "title": message.title,
        "message": message.body,
        "attachments": [],
        "type": match message.kind {
            Kind::Info => "info",
            Kind::Success => "success",
            Kind::Failure => "failure",
        },
    })
}

fn gotify(web: &str, parts: &mut Parts) -> Result<Service, AddressError> {
    let token = parts.path.pop();
    let token = token.ok_or(AddressError::Form("gotify://host/token"))?;
    let above = parts.path.iter().map(|part| format!("{part}/"));
    let url = format!("{web}/{}message", above.collect::<String>());
    let priority = match parts.take("priority").as_deref() {
        None | Some("normal" | "5") => 5,
        Some("low" | "1") => 1,
        Some("moderate" | "3") => 3,
        Some("high" | "8") => 8,
        Some("emergency" | "10") => 10,
        Some(_) => return Err(AddressError::Value("priority")),
    };
    Ok(Service::Gotify {
        url,
        token,
        priority,
    })
}

/// A host alone is a topic of the public server.
fn ntfy(web: &str, parts: &Parts) -> Service {
    if parts.path.is_empty() {
        return Service::Ntfy {
            url: "https://ntfy.sh".to_owned(),
            login: None,
            topics: vec![parts.host.clone()],
        };
    }
    let token = parts.user.as_deref().filter(|user| user.starts_with("tk_"));
    let token = token.filter(|_| parts.password.is_none());
    Service::Ntfy {
        url: web.to_owned(),
        login: match token {
            Some(token) => Some(format!("Bearer {token}")),
            None => parts.login(),
        },
        topics: parts.path.clone(),
    }
}

fn discord(parts: &Parts) -> Result<Service, AddressError> {
    match parts.path.as_slice() {
        [token] => Ok(Service::Discord {
            id: parts.host.clone(),
            token: token.clone(),
            user: parts.user.clone(),
        }),
        _ => Err(AddressError::Form("discord://webhook-id/webhook-token")),
    }
}

fn slack(parts: &Parts) -> Result<Service, AddressError> {
    match parts.path.as_slice() {
        [second, third, channels @ ..] => Ok(Service::Slack {
            token: format!("{}/{second}/{third}", parts.host),
            channels: channels.to_vec(),
        }),
        _ => Err(AddressError::Form("slack://T0000/B0000/token/#channel")),
    }
}

/// The colon of a bot's token looks like that of a port.
fn telegram(parts: &Parts) -> Result<Service, AddressError> {
    match parts.path.as_slice() {
        [_, ..] if parts.host.contains(':') => Ok(Service::Telegram {
            token: parts.host.clone(),
            chats: parts.path.clone(),
        }),
        _ => Err(AddressError::Form("tgram://bot-token/chat-id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(address: &str) -> Vec<String> {
        let message = Message {
            title: "Oh".into(),
            body: "It failed".into(),
            kind: Kind::Failure,
        };
        let requests = Address::read(address).unwrap().requests(&message);
        let line = |request: &Made| {
            let login = request
                .headers
                .get(2)
                .map(|(name, value)| format!("{name}: {value} "));
            format!(
                "{} {}{}",
                request.url,
                login.unwrap_or_default(),
                request.body
            )
        };
        requests.iter().map(line).collect()
    }

    #[test]
    fn addresses_become_requests() {
        let all = [
            "json://user:p%40ss@localhost:8080/a/b",
            "gotifys://host/sub/token?priority=high&verify=no",
            "ntfy://backups",
            "ntfys://tk_abc@example.org/one/two",
            "discord://me@123/abc",
            "slack://T1/B2/c3/#general",
            "tgram://12:ab/-99",
        ];
        let all: Vec<String> = all.into_iter().flat_map(sent).collect();
        insta::assert_snapshot!(all.join("\n"), @r##"
        http://localhost:8080/a/b Authorization: Basic dXNlcjpwQHNz {"version":"1.0","title":"Oh","message":"It failed","attachments":[],"type":"failure"}
        https://host/sub/message X-Gotify-Key: token {"priority":8,"title":"Oh","message":"It failed"}
        https://ntfy.sh {"topic":"backups","message":"It failed","title":"Oh"}
        https://example.org Authorization: Bearer tk_abc {"topic":"one","message":"It failed","title":"Oh"}
        https://example.org Authorization: Bearer tk_abc {"topic":"two","message":"It failed","title":"Oh"}
        https://discord.com/api/webhooks/123/abc {"content":"Oh\nIt failed","username":"me"}
        https://hooks.slack.com/services/T1/B2/c3 {"text":"Oh\nIt failed","channel":"#general"}
        https://api.telegram.org/bot12:ab/sendMessage {"chat_id":"-99","text":"Oh\nIt failed"}
        "##);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (address, told) in [
            (
                "gotify",
                "is no address of Apprise, such as gotify://host/token",
            ),
            (
                "matrix://x",
                "names the service \"matrix\"; Fastness speaks to json, jsons, gotify, gotifys, ntfy, ntfys, discord, slack, tgram",
            ),
            ("gotify://host", "must be of the form gotify://host/token"),
            (
                "slack://a/b",
                "must be of the form slack://T0000/B0000/token/#channel",
            ),
            (
                "json://host/?:a=b",
                "has the option \":a\", which Fastness does not know for this service",
            ),
            (
                "mailtos://me:secret@example.org",
                "is for e-mail, which has options of its own: use \"mail\" under \"fastness\"",
            ),
            (
                "gotify://host/t?priority=9",
                "has no valid value for the option \"priority\"",
            ),
        ] {
            assert_eq!(Address::read(address).unwrap_err().to_string(), told);
        }
    }
}
