//! Every key with its default, its value and where the value comes from.

use serde::Serialize;
use toml::Value;

use crate::config::example::{default, plain};
use crate::config::read::lines;
use crate::config::section::{Key, Section, Shape};
use crate::config::suggest::nearest;
use crate::config::{Config, Domain, SECTIONS};

/// One key, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Such as `listen.c2s`, or `domains[1].name`.
    pub key: String,
    pub meaning: String,
    /// In TOML; none where there is no default.
    pub default: Option<String>,
    /// In TOML; none where the key is not set and has no default.
    pub value: Option<String>,
    /// The line of the file; none where the default holds.
    pub line: Option<usize>,
}

/// Explains every key, or those that are called or start with `wanted`; `text` is what `config` was read from.
///
/// # Errors
/// No key is called so; the nearest name is the suggestion.
pub fn explain(config: &Config, text: &str, wanted: Option<&str>) -> Result<Vec<Explained>, Option<String>> {
    let values = Value::try_from(config).unwrap_or(Value::Boolean(false));
    let lines = lines(text);
    let mut all = Vec::new();
    for section in SECTIONS {
        let count = match section.shape {
            Shape::Once => None,
            // With `domain` at the top there is no `[[domains]]` in the file.
            Shape::Repeated if section.name == Domain::SECTION.name && config.domain.is_some() => Some(0),
            // Where there is none, the keys are explained all the same.
            Shape::Repeated => values.get(section.name).and_then(Value::as_array).map(Vec::len).filter(|&it| it > 0),
        };
        for index in 0..count.unwrap_or(1) {
            let number = count.map(|_| index);
            all.extend(section.keys.iter().map(|key| explained(section, key, number, &values, &lines)));
        }
    }
    let Some(wanted) = wanted else { return Ok(all) };
    let is_wanted = |key: &str| {
        let schema = key.split_once('[').map_or_else(
            || key.to_owned(),
            |(name, rest)| format!("{name}{}", rest.split_once(']').map_or("", |(_, rest)| rest)),
        );
        [key, schema.as_str()]
            .iter()
            .any(|key| key.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
    };
    let found: Vec<_> = all.iter().filter(|explained| is_wanted(&explained.key)).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names = all.iter().map(|explained| explained.key.as_str());
    let last = |key: &str| key.rsplit('.').next() == Some(wanted);
    let near = all.iter().find(|explained| last(&explained.key)).map(|explained| explained.key.as_str());
    Err(near.or_else(|| nearest(wanted, names)).map(str::to_owned))
}

fn explained(
    section: &Section,
    key: &Key,
    number: Option<usize>,
    values: &Value,
    lines: &[(String, usize)],
) -> Explained {
    let path = match number {
        Some(number) => format!("{}[{}].{}", section.name, number + 1, key.name),
        None => section.path(key),
    };
    let table = if section.name.is_empty() { Some(values) } else { values.get(section.name) };
    let table = match number {
        Some(number) => table.and_then(|list| list.get(number)),
        None => table,
    };
    let line = lines.iter().find(|(written, _)| *written == path).map(|(_, line)| *line);
    Explained {
        meaning: plain(key.doc),
        default: default(section, key),
        value: table.and_then(|table| table.get(key.name)).map(Value::to_string),
        line,
        key: path,
    }
}
