//! Where the configuration is.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::output::Failure;
use crate::config::Config;

/// The name of the file.
pub(super) const FILE: &str = "comity.toml";

/// Where it is looked for last.
const SYSTEM: &str = "/etc/comity/comity.toml";

const HELP: &str = "The configuration file. Without it: the environment variable COMITY_CONFIG, then comity.toml \
    in the current directory, then /etc/comity/comity.toml";

/// Which configuration file a command works with.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// As named with `--config`.
    #[arg(long, global = true, value_name = "FILE", help = HELP)]
    config: Option<PathBuf>,
}

impl Place {
    /// The file that was named with `--config` or in the environment.
    #[must_use]
    pub fn named(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| std::env::var_os("COMITY_CONFIG").map(PathBuf::from))
    }

    /// The file to read.
    ///
    /// # Errors
    /// None was named and none is where it is looked for.
    pub fn file(&self) -> Result<PathBuf, Failure> {
        if let Some(named) = self.named() {
            return Ok(named);
        }
        [FILE, SYSTEM].into_iter().map(Path::new).find(|file| file.exists()).map(Path::to_owned).ok_or_else(|| {
            Failure::Usage(format!(
                "no configuration: neither ./{FILE} nor {SYSTEM} is there; \
                 name one with --config FILE, or write one with: comity init DOMAIN"
            ))
        })
    }

    /// Reads it.
    ///
    /// # Errors
    /// There is none, or it is not accepted.
    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.file()?).map_err(|error| Failure::Usage(error.to_string()))
    }
}
