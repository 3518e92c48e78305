//! The command line.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::meter::Length;
use crate::servers::Make;

const HELP: &str = "\
Usage: comity-load [crash|archive|domains|hostile|rooms|attack] [OPTION]...

  crash               kill servers instead of measuring them; takes --rounds,
                      --servers, --document and --keep
  archive             ask for pages of long archives; takes --quick, --servers,
                      --document and --keep
  domains             hold 1,000 other domains at once; takes --quick,
                      --servers, --document and --keep
  hostile             one domain does to Comity what it can, beside others that
                      are honest; takes --quick, --only, --document and --keep
  rooms               measure rooms; takes --quick, --rounds, --servers,
                      --document and --keep
  attack              thirteen attacks at once on Comity, beside people who talk;
                      takes --quick, --document and --keep

  --quick             one short round with small numbers
  --rounds N          interleaved rounds (5; quick: 1)
  --servers A,B       of comity, prosody, ejabberd, floor (all)
  --only A,B          of idle, presence, chat, rates, login, storm, s2s, archived,
                      growth (all); of messages, people, requests, questions,
                      connects where one domain is hostile
  --json FILE         write every single measurement there
  --document FILE     rewrite the generated part of this document
  --keep DIRECTORY    work there and leave it
";

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct Options {
    pub quick: bool,
    pub rounds: usize,
    pub servers: Vec<Make>,
    pub only: Option<Vec<String>>,
    pub json: Option<PathBuf>,
    pub document: Option<PathBuf>,
    pub keep: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; none if only help was wanted.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Option<Self>> {
        let mut options = Self {
            quick: false,
            rounds: 0,
            servers: Make::ALL.to_vec(),
            only: None,
            json: None,
            document: None,
            keep: None,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| io::Error::other(format!("{name} needs a value")));
            match name.as_str() {
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = value()?.parse().map_err(io::Error::other)?,
                "--servers" => {
                    let wanted = value()?;
                    if let Some(word) = wanted.split(',').find(|word| Make::ALL.iter().all(|make| make.name() != *word))
                    {
                        return Err(io::Error::other(format!("--servers: there is no {word}")));
                    }
                    options.servers.retain(|make| wanted.split(',').any(|it| it == make.name()));
                }
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--json" => options.json = Some(value()?.into()),
                "--document" => options.document = Some(value()?.into()),
                "--keep" => options.keep = Some(value()?.into()),
                "--help" => {
                    print!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(io::Error::other(format!("unknown option {name}\n{HELP}"))),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 1 } else { 5 };
        }
        Ok(Some(options))
    }

    /// Whether there is all of what `--only` asks for; otherwise little or nothing would be looked at, and all would be well.
    pub fn knows(&self, groups: &[&str]) -> io::Result<()> {
        match self.only.iter().flatten().find(|word| !groups.contains(&word.as_str())) {
            Some(word) => Err(io::Error::other(format!("--only: {word} is none of {}", groups.join(", ")))),
            None => Ok(()),
        }
    }

    /// Whether this group of scenarios is wanted.
    pub fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|it| it == group))
    }

    /// How long a measurement lasts.
    pub fn length(&self) -> Length {
        let (warm_up, cpu, longest) = if self.quick { (300, 500, 2_000) } else { (1_000, 3_000, 10_000) };
        Length {
            warm_up: Duration::from_millis(warm_up),
            cpu: Duration::from_millis(cpu),
            longest: Duration::from_millis(longest),
        }
    }
    /// How long all are idle before their memory is looked at: allocators and collectors give back unused pages after
    /// some seconds.
    pub fn rest(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 12 })
    }
}
