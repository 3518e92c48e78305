//! The manual: as the commented example file, and as a page.

use std::fmt::Write;
use std::path::Path;

use toml::Value;

use crate::config::section::{Key, Section, Shape};
use crate::config::{Component, Config, Domain, DomainName, Peer, SECTIONS};

/// The width of a comment's text.
const WIDTH: usize = 96;

/// The whole file with every key commented out, except the domain and, where they are given, the data
/// directory and the domains of rooms; what is commented is the default.
#[must_use]
pub fn example(domain: &str, data_dir: Option<&Path>, rooms: &[DomainName]) -> String {
    let mut out = String::new();
    comment(&mut out, Config::SECTION.doc);
    comment(&mut out, &[" Lines of the form #key = value show the default (or, where there is none, an example)."]);
    for section in SECTIONS {
        out.push('\n');
        if !section.name.is_empty() {
            comment(&mut out, section.doc);
            let _ = writeln!(out, "{}\n", header(section));
        }
        for key in section.keys {
            comment(&mut out, key.doc);
            let set = match section.path(key).as_str() {
                "domain" => Some(Value::from(domain)),
                "data_dir" => data_dir.map(|path| Value::from(&*path.to_string_lossy())),
                "services.rooms" if !rooms.is_empty() => {
                    Some(Value::from(rooms.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()))
                }
                _ => None,
            };
            let (mark, value) = set.map_or_else(|| ("#", shown(section, key)), |value| ("", value.to_string()));
            let _ = writeln!(out, "{mark}{} = {value}\n", key.name);
        }
        out.pop();
    }
    out
}

/// The same as a page in Markdown.
#[must_use]
pub fn manual() -> String {
    let mut out = String::from("# Configuration\n\n");
    let _ = writeln!(out, "{}\n", sentence(Config::SECTION.doc));
    out.push_str(INTRODUCTION);
    for section in SECTIONS {
        if section.name.is_empty() {
            out.push_str("\n## Top of the file\n");
        } else {
            let header = if section.shape == Shape::Once {
                format!("[{}]", section.name)
            } else {
                format!("[[{}]]", section.name)
            };
            let _ = write!(out, "\n## `{header}`\n\n{}\n", sentence(section.doc));
        }
        out.push_str("\n| Key | Default | Meaning |\n|---|---|---|\n");
        for key in section.keys {
            let default = default(section, key).map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
            let _ = writeln!(out, "| `{}` | {default} | {} |", key.name, sentence(key.doc).replace('|', "\\|"));
        }
    }
    out
}

const INTRODUCTION: &str = "\
The file is `comity.toml`, in [TOML](https://toml.io).
It is looked for where `--config` says, then where the environment variable `COMITY_CONFIG` says, then in the current directory, then in `/etc/comity`.
`comity init DOMAIN` writes it with every key commented out, as in [config.example.toml](../config.example.toml).
`comity config explain` shows every key with its default, its current value and where that comes from.
Sizes are written like `\"256KiB\"` or `\"1MiB\"`, time spans like `\"30s\"`, `\"10m\"` or `\"2h\"`.
`comity reload`, or SIGHUP, has the running server read it again, together with the certificates: everything is checked first, and no stream ends.
Only `data_dir`, the addresses in `[listen]`, the domains, the components, the names in `[services]` and `log.format` need a restart; the answer names those of them that have changed.
An unknown key or a wrong value is refused with file, line, column and, where one is near, the key that was probably meant.

This page is generated from the sources: `cargo test` fails when it is stale, and `UPDATE=1 cargo test` writes it again.
";

/// The default of a key, in TOML.
pub(super) fn default(section: &Section, key: &Key) -> Option<String> {
    let one = match section.name {
        "domains" => Value::try_from(Domain::default()),
        "components" => Value::try_from(Component::default()),
        "peers" => Value::try_from(Peer::default()),
        _ => Value::try_from(Config::default()),
    };
    let value = one.ok()?;
    let in_config = section.shape == Shape::Once && !section.name.is_empty();
    let section = if in_config { value.get(section.name)? } else { &value };
    // The name of a domain is serialised as an empty text, but it has no default.
    section.get(key.name).filter(|value| value.as_str() != Some("")).map(Value::to_string)
}

fn shown(section: &Section, key: &Key) -> String {
    key.example.map_or_else(|| default(section, key).unwrap_or_default(), str::to_owned)
}

/// The header is commented out where an empty section would mean something.
fn header(section: &Section) -> String {
    match section.shape {
        Shape::Once => format!("[{}]", section.name),
        Shape::Repeated => format!("#[[{}]]", section.name),
    }
}

/// The lines of a doc comment as one paragraph without markup.
pub(super) fn plain(doc: &[&str]) -> String {
    sentence(doc).replace('`', "")
}

/// The lines of a doc comment as one paragraph.
fn sentence(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn comment(out: &mut String, doc: &[&str]) {
    let mut line = String::from("#");
    for word in plain(doc).split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH {
            let _ = writeln!(out, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
