//! The configuration as a JSON Schema, for editors that complete and check while one types.
//!
//! `docs/reference/configuration.schema.json` is this document; a test keeps the two equal.

use serde_json::{Map, Value, json};

use super::options::{options, repository};
use super::schema::{Kind, OptionSpec, Support};

/// Writes the schema.
pub fn document() -> Value {
    let mut schema = object(options());
    if let Some(members) = schema.as_object_mut() {
        members.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        members.insert(
            "title".to_owned(),
            json!("Fastness and borgmatic configuration"),
        );
    }
    schema
}

fn object(specs: &'static [OptionSpec]) -> Value {
    let properties: Map<String, Value> = specs
        .iter()
        .map(|spec| (spec.name.to_owned(), property(spec)))
        .collect();
    with_required(
        json!({"type": "object", "additionalProperties": false, "properties": properties}),
        specs,
    )
}

fn with_required(mut schema: Value, specs: &'static [OptionSpec]) -> Value {
    let required: Vec<&str> = specs
        .iter()
        .filter(|spec| spec.required)
        .map(|spec| spec.name)
        .collect();
    if let Some(members) = schema.as_object_mut()
        && !required.is_empty()
    {
        members.insert("required".to_owned(), json!(required));
    }
    schema
}

fn property(spec: &'static OptionSpec) -> Value {
    let mut schema = kind(spec.kind);
    let Some(members) = schema.as_object_mut() else {
        return schema;
    };
    let note = match spec.support {
        Support::Works => "",
        Support::Borg2 => " (Borg 2 only, no effect)",
    };
    members.insert(
        "description".to_owned(),
        json!(format!("{}{note}", spec.about)),
    );
    if let Some(default) = spec.default {
        members.insert("default".to_owned(), json!(default));
    }
    if spec.may_be_empty {
        members.insert("type".to_owned(), json!(["object", "null"]));
    }
    schema
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Level => json!({"type": "integer", "enum": [-2, -1, 0, 1, 2]}),
        Kind::Number => json!({"type": "number"}),
        Kind::Text => json!({"type": "string"}),
        Kind::TextOrInteger => json!({"type": ["string", "integer"]}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Statistics => {
            json!({"type": ["string", "boolean"], "enum": ["standard", "quick", "none", true, false]})
        }
        Kind::TextList => json!({"type": "array", "items": {"type": "string"}}),
        Kind::ChoiceList(words) => {
            json!({"type": "array", "items": {"type": "string", "enum": words}})
        }
        Kind::Map => json!({"type": "object"}),
        Kind::TextMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Kind::Fields(specs) => object(specs),
        Kind::SwitchOrFields(specs) => json!({"anyOf": [{"type": "boolean"}, object(specs)]}),
        Kind::List(specs) => json!({"type": "array", "items": object(specs)}),
        Kind::Repositories => json!({"type": "array", "items": repository_entry()}),
    }
}

/// An entry has its own fields, and any option of the top level.
fn repository_entry() -> Value {
    let own = repository()
        .iter()
        .map(|spec| (spec.name.to_owned(), property(spec)));
    let top = options().iter().map(|spec| {
        (
            spec.name.to_owned(),
            json!({"$ref": format!("#/properties/{}", spec.name)}),
        )
    });
    let properties: Map<String, Value> = top.chain(own).collect();
    with_required(
        json!({"type": "object", "additionalProperties": false, "properties": properties}),
        repository(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/configuration.schema.json"
        );
        let text = format!("{:#}\n", document());
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            written, text,
            "UPDATE_REFERENCE=1 cargo test writes it anew"
        );
    }
}
