//! Passwords from a person or a program, never echoed and never in an argument.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::output::Failure;

/// Asks twice on the terminal, without echo.
///
/// # Errors
/// There is no terminal, the two differ, or nothing was entered.
pub(super) fn ask_twice(account: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("no terminal to ask for the password; give it with --password-stdin".to_owned()));
    }
    let quiet = Quiet::start().map_err(cannot_ask)?;
    let first = ask(&format!("Password for {account}: "))?;
    let second = ask("Once more: ")?;
    drop(quiet);
    if first == second { accepted(first) } else { Err(Failure::Failed("the two passwords differ".to_owned())) }
}

/// The first line of standard input.
///
/// # Errors
/// There is none.
pub(super) fn read_line(from: &mut dyn BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    from.read_line(&mut line).map_err(|error| Failure::Failed(format!("the password cannot be read: {error}")))?;
    accepted(without_line_end(line))
}

fn accepted(password: String) -> Result<String, Failure> {
    if password.is_empty() { Err(Failure::Usage("the password is empty".to_owned())) } else { Ok(password) }
}

fn without_line_end(mut line: String) -> String {
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
    line
}

fn ask(question: &str) -> Result<String, Failure> {
    let mut terminal = io::stderr();
    write!(terminal, "{question}").and_then(|()| terminal.flush()).map_err(cannot_ask)?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    // The line end that was entered has not been echoed either.
    let _ = writeln!(terminal);
    read.map_err(cannot_ask)?;
    Ok(without_line_end(line))
}

fn cannot_ask(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot ask for the password: {error}"))
}

/// While it lives, the terminal does not show what is typed.
struct Quiet(Termios);

impl Quiet {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The terminal is gone when this fails.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::read_line;

    #[test]
    fn one_line_without_its_end() {
        for (input, password) in [("secret\nmore\n", "secret"), ("se cret \r\n", "se cret "), ("secret", "secret")] {
            assert_eq!(read_line(&mut input.as_bytes()).unwrap(), password);
        }
        assert!(read_line(&mut "\n".as_bytes()).is_err());
        assert!(read_line(&mut "".as_bytes()).is_err());
    }
}
