//! `comity account`: add, remove, password, list, sessions, kick, import.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::cli::output::{Failure, Output, Rendering};
use crate::cli::place::Place;
use crate::cli::reach::Reach;
use crate::cli::{password, wait_for};
use crate::config::Config;
use crate::hooks::operation::{Nothing, Operation};
use crate::routing::operations::{
    ACCOUNT_ADD, ACCOUNT_LIST, ACCOUNT_PASSWORD, ACCOUNT_REMOVE, AccountName, AccountPassword, DomainOf, SESSION_END,
    SESSION_LIST, Secret, SessionName,
};

/// Add, remove and list accounts, and change their passwords.
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
    Add(WithPassword),
    /// Remove an account with everything it has: contacts, messages, settings. There is no way back.
    Remove {
        /// The account, such as romeo@example.org.
        #[arg(value_name = "JID")]
        account: String,
    },
    /// Change the password of an account.
    #[command(after_help = "Example: echo 'new secret' | comity account password romeo@example.org --password-stdin")]
    Password(WithPassword),
    /// List all accounts.
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
            What::Add(with) => {
                let account = with.apply(&config, &ACCOUNT_ADD)?;
                output.line(format_args!("Added {account}."))
            }
            What::Password(with) => {
                let account = with.apply(&config, &ACCOUNT_PASSWORD)?;
                output.line(format_args!("Changed the password of {account}."))
            }
            What::Remove { account } => {
                let named = AccountName { jid: account.clone() };
                wait_for(once(&config, async |reach| reach.call(&ACCOUNT_REMOVE, named).await))?;
                output.line(format_args!("Removed {account}."))
            }
            What::List { rendering } => {
                let all = wait_for(once(&config, async |reach| list(&config, &ACCOUNT_LIST, reach).await))?;
                output.facts(rendering, &all, |all| all.join("\n"))
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

impl WithPassword {
    /// Gets the password and has `operation` done; what was done to is returned.
    fn apply(self, config: &Config, operation: &Operation<AccountPassword, Nothing>) -> Result<String, Failure> {
        let password = if self.password_stdin {
            password::read_line(&mut io::stdin().lock())?
        } else {
            password::ask_twice(&self.account)?
        };
        let asked = AccountPassword { jid: self.account.clone(), password: Secret(password) };
        wait_for(once(config, async |reach| reach.call(operation, asked).await))?;
        Ok(self.account)
    }
}

/// What there is in all domains: accounts or sessions.
async fn list(
    config: &Config,
    what: &Operation<DomainOf, Vec<String>>,
    reach: &mut Reach,
) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for domain in &config.domains {
        all.extend(reach.call(what, DomainOf { domain: domain.name.to_string() }).await?);
    }
    Ok(all)
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
            Some(Ok(login)) => match reach.call(&ACCOUNT_ADD, login).await {
                Ok(Nothing {}) => Ok(()),
                Err(Failure::Usage(reason) | Failure::Failed(reason)) => Err(reason),
                Err(told @ Failure::Told) => return Err(told),
            },
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
            Ok(AccountPassword { jid: account.to_owned(), password: Secret(password.to_owned()) })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::login;

    #[test]
    fn a_line_is_account_and_password() {
        let parts = |line| login(line).map(|login| login.map(|login| (login.jid, login.password.0)));
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
