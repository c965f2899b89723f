//! Zabbix: a value for an item, by the JSON-RPC of its server.

use serde_json::{Value, json};

use super::net::Request;
use super::{Context, Monitor, Node, PingError, Service, State, States, text};

/// The service.
pub struct Zabbix;

struct Values {
    server: String,
    item: Result<Value, &'static str>,
    username: Option<String>,
    password: Option<String>,
    api_key: Option<String>,
    states: States,
    /// The values at the start, the end, and a failure.
    values: [Option<Value>; 3],
}

impl Service for Zabbix {
    fn key(&self) -> &'static str {
        "zabbix"
    }

    fn name(&self) -> &'static str {
        "Zabbix"
    }

    fn begin(&self, options: &Node, _context: &Context<'_>) -> Box<dyn Monitor> {
        Box::new(Values {
            server: text(options, "server").unwrap_or_default(),
            item: item(options),
            username: text(options, "username"),
            password: text(options, "password"),
            api_key: text(options, "api_key"),
            states: States::read(options, &["fail"]),
            values: ["start", "finish", "fail"].map(|state| {
                let value = options.get(state)?.get("value");
                Some(value.map_or(Value::Null, json_of))
            }),
        })
    }
}

fn json_of(node: &Node) -> Value {
    match (node.as_integer(), node.as_text()) {
        (Some(number), _) => number.into(),
        (None, Some(text)) => text.into(),
        (None, None) => Value::Null,
    }
}

/// The item, by its id or by its host and key.
fn item(options: &Node) -> Result<Value, &'static str> {
    let id = options.get("itemid").and_then(Node::as_integer);
    match (id, text(options, "host"), text(options, "key")) {
        (Some(id), _, _) => Ok(json!({ "itemid": id })),
        (None, Some(host), Some(key)) => Ok(json!({ "host": host, "key": key })),
        (None, Some(_), None) => Err("\"host\" needs \"key\" beside it"),
        (None, None, Some(_)) => Err("\"key\" needs \"host\" beside it"),
        (None, None, None) => Err("either \"itemid\", or \"host\" and \"key\" must be set"),
    }
}

impl Values {
    /// Calls a method of the server and returns its result.
    fn call(
        &self,
        method: &str,
        params: &Value,
        token: Option<&str>,
        context: &Context<'_>,
    ) -> Result<Value, PingError> {
        let call = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
        let server = context.secret(&self.server)?;
        let mut request = Request::post(server.reveal(), call.to_string())
            .header("Content-Type", "application/json-rpc");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let Some(answer) = context.send(&request)? else {
            return Ok(Value::Null);
        };
        let refused = |text: &str| PingError::Refused(format!("{method}: {text}"));
        let answer: Value =
            serde_json::from_str(&answer).map_err(|_| refused("the answer is no JSON"))?;
        let text_at = |path: &str| answer.pointer(path).and_then(Value::as_str);
        match text_at("/result/data/0/error").or_else(|| text_at("/error/data")) {
            Some(text) => Err(refused(text)),
            None => Ok(answer.get("result").cloned().unwrap_or(Value::Null)),
        }
    }

    fn push(
        &self,
        value: Value,
        token: Option<&str>,
        context: &Context<'_>,
    ) -> Result<(), PingError> {
        let mut params = self
            .item
            .clone()
            .map_err(|text| PingError::Refused(text.to_owned()))?;
        if let Some(params) = params.as_object_mut() {
            params.insert("value".to_owned(), value);
        }
        self.call("history.push", &params, token, context)?;
        Ok(())
    }
}

impl Monitor for Values {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        let [start, finish, fail] = &self.values;
        let value = match state {
            State::Start => start,
            State::Finish => finish,
            State::Fail => fail,
            State::Log => return Ok(()),
        };
        if !self.states.contain(state) {
            return Ok(());
        }
        if let Err(text) = &self.item {
            return Err(PingError::Refused((*text).to_owned()));
        }
        let value = value.clone().unwrap_or_else(|| state.to_string().into());
        context.note("Pinging Zabbix");
        if let Some(key) = &self.api_key {
            let key = context.secret(key)?;
            self.push(value, Some(key.reveal()), context)?;
            // A session of its own was never opened, yet borgmatic closes one here too.
            if self.username.is_some() && self.password.is_some() {
                self.call("user.logout", &json!([]), Some(key.reveal()), context)?;
            }
            return Ok(());
        }
        let (Some(username), Some(password)) = (&self.username, &self.password) else {
            let text = "either \"api_key\", or \"username\" and \"password\" must be set";
            return Err(PingError::Refused(text.to_owned()));
        };
        let (username, password) = (context.secret(username)?, context.secret(password)?);
        let login = json!({ "username": username.reveal(), "password": password.reveal() });
        let session = self.call("user.login", &login, None, context)?;
        if context.dry_run {
            return Ok(());
        }
        let Some(session) = session.as_str().filter(|session| !session.is_empty()) else {
            let text = "the server gave no session for this \"username\" and \"password\"";
            return Err(PingError::Refused(text.to_owned()));
        };
        let pushed = self.push(value, Some(session), context);
        self.call("user.logout", &json!([]), Some(session), context)?;
        pushed
    }
}
