//! `comity account`: add, remove, disable, enable, password, list, sessions, kick, import.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::reach::Reach;
use crate::cli::{password, wait_for};
use crate::config::Config;
use crate::hooks::operation::{Nothing, Operation};
use crate::routing::operations::{
    ACCOUNT_ADD, ACCOUNT_DISABLE, ACCOUNT_ENABLE, ACCOUNT_LIST, ACCOUNT_PASSWORD, ACCOUNT_REMOVE, AccountName,
    AccountPassword, DomainOf, Listed, NewAccount, SESSION_END, SESSION_LIST, SessionName,
};
use crate::secret::Secret;

/// Add, remove, disable and list accounts, and change their passwords.
///
/// While the server runs, commands go through it; otherwise they open the data directory themselves.
#[derive(Debug, Args)]
pub(super) struct Account {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add an account.
    #[command(after_help = "Example: comity account add romeo@example.org")]
    Add {
        #[command(flatten)]
        with: WithPassword,
        /// Make it an administrator's: its clients can do what this command does.
        #[arg(long)]
        admin: bool,
        /// Give it the name of an account that was removed a short time ago (`limits.name_reuse`).
        #[arg(long)]
        reuse: bool,
    },
    /// Remove an account with everything it has: contacts, messages, settings. There is no way back.
    ///
    /// Its contacts are told. If the server does not run, that happens when it starts.
    Remove(Named),
    /// End an account's sessions and let nobody log in to it. What it has stays, and nobody else is told.
    Disable(Named),
    /// Let the owner of a disabled account log in again.
    Enable(Named),
    /// Change the password of an account.
    #[command(after_help = "Example: echo 'new secret' | comity account password romeo@example.org --password-stdin")]
    Password(WithPassword),
    /// List all accounts, and which of them are disabled or an administrator's.
    List {
        #[command(flatten)]
        rendering: Rendering,
    },
    /// List the sessions of the running server.
    Sessions {
        #[command(flatten)]
        rendering: Rendering,
    },
    /// End one session, or all of an account. The client may come back at once.
    #[command(after_help = "Example: comity account kick romeo@example.org/orchard")]
    Kick {
        /// The session, such as romeo@example.org/orchard, or the account.
        #[arg(value_name = "JID")]
        session: String,
    },
    /// Add many accounts: one per line, the JID, white space, the password.
    ///
    /// Empty lines and lines that begin with # are skipped. A line that cannot be done is told with its
    /// number, the others are done all the same; the exit code is then 1.
    #[command(after_help = "Example: comity account import accounts.txt")]
    Import {
        /// The file to read; - is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Named {
    /// The account, such as romeo@example.org.
    #[arg(value_name = "JID")]
    account: String,
}

#[derive(Debug, Args)]
struct WithPassword {
    /// The account, such as romeo@example.org.
    #[arg(value_name = "JID")]
    account: String,
    /// Read the password from the first line of standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

impl Account {
    pub(super) fn run(self, place: &Place, output: &mut Output<'_>) -> Result<(), Failure> {
        let config = place.load()?;
        match self.what {
            What::Add { with, admin, reuse } => {
                let AccountPassword { jid, password } = with.read()?;
                let account = NewAccount { jid: jid.clone(), password, admin, reuse };
                wait_for(once(&config, async |reach| reach.call(&ACCOUNT_ADD, account).await))?;
                output.line(format_args!("Added {jid}."))
            }
            What::Password(with) => {
                let asked = with.read()?;
                let account = asked.jid.clone();
                wait_for(once(&config, async |reach| reach.call(&ACCOUNT_PASSWORD, asked).await))?;
                output.line(format_args!("Changed the password of {account}."))
            }
            What::Remove(named) => named.apply(&config, &ACCOUNT_REMOVE, "Removed", output),
            What::Disable(named) => named.apply(&config, &ACCOUNT_DISABLE, "Disabled", output),
            What::Enable(named) => named.apply(&config, &ACCOUNT_ENABLE, "Enabled", output),
            What::List { rendering } => {
                let all = wait_for(once(&config, async |reach| list(&config, &ACCOUNT_LIST, reach).await))?;
                output.facts(rendering, &all, |all| all.iter().map(line_of).collect::<Vec<_>>().join("\n"))
            }
            What::Sessions { rendering } => {
                let all = wait_for(once(&config, async |reach| list(&config, &SESSION_LIST, reach).await))?;
                output.facts(rendering, &all, |all| all.join("\n"))
            }
            What::Kick { session } => {
                let named = SessionName { jid: session };
                let ended = wait_for(once(&config, async |reach| reach.call(&SESSION_END, named).await))?;
                output.line(format_args!("Sessions ended: {ended}."))
            }
            What::Import { file } => {
                let lines = lines_of(&file)?;
                wait_for(once(&config, async |reach| import(lines, reach, output).await))
            }
        }
    }
}

impl Named {
    /// Has `operation` done, and says that it was.
    fn apply(
        self,
        config: &Config,
        operation: &Operation<AccountName, Nothing>,
        done: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        let named = AccountName { jid: self.account.clone() };
        wait_for(once(config, async |reach| reach.call(operation, named).await))?;
        output.line(format_args!("{done} {}.", self.account))
    }
}

impl WithPassword {
    /// Gets the password.
    fn read(self) -> Result<AccountPassword, Failure> {
        let password = if self.password_stdin {
            password::read_line(&mut io::stdin().lock())?
        } else {
            password::ask_twice(&self.account)?
        };
        Ok(AccountPassword { jid: self.account, password: Secret::new(password) })
    }
}

/// What there is in all domains: accounts or sessions.
async fn list<T: DeserializeOwned>(
    config: &Config,
    what: &Operation<DomainOf, Vec<T>>,
    reach: &mut Reach,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    for domain in &config.domains {
        all.extend(reach.call(what, DomainOf { domain: domain.name.to_string() }).await?);
    }
    Ok(all)
}

/// An account as people read it.
fn line_of(account: &Listed) -> String {
    let states = [(account.admin, " (administrator)"), (account.disabled, " (disabled)")];
    states.into_iter().filter(|(is, _)| *is).fold(account.jid.clone(), |line, (_, state)| line + state)
}

/// Opens the way, walks it, and closes it whether or not that went well.
async fn once<T>(config: &Config, work: impl AsyncFnOnce(&mut Reach) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut reach = Reach::open(config).await?;
    let done = work(&mut reach).await;
    reach.close().await?;
    done
}

fn lines_of(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}

async fn import(lines: Box<dyn BufRead>, reach: &mut Reach, output: &mut Output<'_>) -> Result<(), Failure> {
    let (mut added, mut refused) = (0, 0);
    for (index, line) in lines.lines().enumerate() {
        let number = index + 1;
        let line = line.map_err(|error| Failure::Failed(format!("line {number}: {error}")))?;
        let outcome = match login(&line) {
            None => continue,
            Some(Err(reason)) => Err(reason.to_owned()),
            Some(Ok(AccountPassword { jid, password })) => {
                match reach.call(&ACCOUNT_ADD, NewAccount { jid, password, admin: false, reuse: false }).await {
                    Ok(Nothing {}) => Ok(()),
                    Err(Failure::Usage(reason) | Failure::Failed(reason)) => Err(reason),
                    Err(told @ Failure::Told) => return Err(told),
                }
            }
        };
        match outcome {
            Ok(()) => added += 1,
            Err(reason) => {
                refused += 1;
                output.remark(format_args!("line {number}: {reason}"));
            }
        }
    }
    output.line(format_args!("Added {added} accounts, {refused} lines refused."))?;
    if refused == 0 { Ok(()) } else { Err(Failure::Told) }
}

/// The account and password of a line; none where there is nothing to do.
fn login(line: &str) -> Option<Result<AccountPassword, &'static str>> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    // The password may have white space inside, but not around it.
    Some(match line.split_once(char::is_whitespace).map(|(account, password)| (account, password.trim())) {
        None | Some((_, "")) => Err("no password; write the JID, white space, the password"),
        Some((account, password)) => {
            Ok(AccountPassword { jid: account.to_owned(), password: Secret::new(password.to_owned()) })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::login;

    #[test]
    fn a_line_is_account_and_password() {
        let parts = |line| login(line).map(|login| login.map(|login| (login.jid, login.password.reveal().to_owned())));
        let both = |account: &str, password: &str| Some(Ok((account.to_owned(), password.to_owned())));
        assert_eq!(parts("a@b.example secret"), both("a@b.example", "secret"));
        assert_eq!(parts("  a@b.example\t two words \r"), both("a@b.example", "two words"));
        assert_eq!(parts("a@b.example #secret"), both("a@b.example", "#secret"));
        assert_eq!(parts(""), None);
        assert_eq!(parts("# a@b.example secret"), None);
        assert!(matches!(parts("a@b.example"), Some(Err(_))));
        assert!(matches!(parts("a@b.example   "), Some(Err(_))));
    }
}
