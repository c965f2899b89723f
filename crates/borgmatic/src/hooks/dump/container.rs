//! Where a server in a container is reached: docker or podman knows.

use serde_json::Value;

use super::{DumpError, Tools};

const ENGINES: [&str; 2] = ["docker", "podman"];

/// Returns the address of a container.
///
/// # Errors
/// When there is neither docker nor podman, or none of them knows an address.
pub fn address(container: &str, tools: &Tools<'_>) -> Result<String, DumpError> {
    let failed = |reason: &str| DumpError::Container {
        container: container.to_owned(),
        reason: reason.to_owned(),
    };
    let engines = ENGINES.into_iter().filter(|engine| tools.is_there(engine));
    let (mut any, mut last) = (false, None);
    for engine in engines {
        any = true;
        let program = tools
            .program(&format!("container {container:?}"), engine)
            .words(["container", "inspect", "--format={{json .NetworkSettings}}"])
            .word(container);
        match program.output(tools.log) {
            Ok(text) => {
                let settings: Value = serde_json::from_str(text.trim())
                    .map_err(|_| failed(&format!("{engine} printed something that is no JSON")))?;
                return own_address(&settings).ok_or_else(|| {
                    failed("it has no address; use \"hostname\" and \"port\" instead")
                });
            }
            Err(error) => last = Some(error),
        }
    }
    match (any, last) {
        (true, Some(error)) => Err(error),
        _ => Err(failed("neither docker nor podman is installed")),
    }
}

fn own_address(settings: &Value) -> Option<String> {
    let address = |node: &Value| {
        let address = node.get("IPAddress")?.as_str()?;
        (!address.is_empty()).then(|| address.to_owned())
    };
    address(settings).or_else(|| {
        let networks = settings.get("Networks")?.as_object()?;
        networks.values().find_map(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_main_address_goes_before_those_of_networks() {
        let network = json!({"Networks": {"a": {"IPAddress": ""}, "b": {"IPAddress": "10.0.0.2"}}});
        assert_eq!(own_address(&network).as_deref(), Some("10.0.0.2"));
        let both = json!({"IPAddress": "10.0.0.1", "Networks": {"b": {"IPAddress": "10.0.0.2"}}});
        assert_eq!(own_address(&both).as_deref(), Some("10.0.0.1"));
        assert_eq!(own_address(&json!({"Networks": {}})), None);
        assert_eq!(own_address(&json!(null)), None);
    }
}
