//! What nobody could answer is not asked again for a moment (RFC 9520): while the servers of a domain fail, each stanza
//! for it would otherwise ask them once more, and wait.
//!
//! "There is nothing" is an answer, and remembered elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, DnsError, Resolver, Srv, Tlsa};
use crate::net::BoxFuture;

/// How long a failure is remembered (RFC 9520: from one second to five minutes).
const REMEMBERED: Duration = Duration::from_secs(5);
/// A question that somebody has waited for so long has failed for the next one as well.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// So many failures are remembered at most.
const MOST: usize = 1000;

/// A resolver that remembers its failures.
pub struct Remembering<R> {
    inner: R,
    failures: Failures,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    kind: Kind,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Srv,
    Addresses,
    Tlsa,
}

#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<Question, (Instant, DnsError)>>);

impl Failures {
    fn lock(&self) -> MutexGuard<'_, HashMap<Question, (Instant, DnsError)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, question: &Question) -> Option<DnsError> {
        let failures = self.lock();
        let (since, error) = failures.get(question)?;
        (since.elapsed() < REMEMBERED).then(|| error.clone())
    }

    fn remember(&self, question: Question, error: DnsError) {
        let mut failures = self.lock();
        if failures.len() >= MOST {
            failures.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        }
        // Who has a thousand domains fail at a time only has their servers asked more often.
        if failures.len() < MOST {
            failures.insert(question, (Instant::now(), error));
        }
    }
}

/// A question that is open. Whoever asks may give up, and then it has failed.
struct Open<'a> {
    failures: &'a Failures,
    question: Option<Question>,
    since: Instant,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(question) = self.question.take().filter(|_| self.since.elapsed() >= GIVEN_UP) {
            self.failures.remember(question, DnsError::Failed("no answer".to_owned()));
        }
    }
}

impl<R: Resolver> Remembering<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, failures: Failures::default() }
    }

    async fn ask<'a, T>(
        &'a self,
        kind: Kind,
        name: &'a str,
        ask: impl FnOnce(&'a R) -> BoxFuture<'a, Result<Answer<T>, DnsError>>,
    ) -> Result<Answer<T>, DnsError> {
        let question = Question { kind, name: name.to_ascii_lowercase() };
        if let Some(error) = self.failures.of(&question) {
            return Err(error);
        }
        let mut open = Open { failures: &self.failures, question: Some(question), since: Instant::now() };
        let answer = ask(&self.inner).await;
        let question = open.question.take();
        if let (Some(question), Err(error)) = (question, &answer)
            && !error.is_absence()
        {
            self.failures.remember(question, error.clone());
        }
        answer
    }
}

impl<R: Resolver> Resolver for Remembering<R> {
    fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
        Box::pin(self.ask(Kind::Srv, name, |inner| inner.srv(name)))
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
        Box::pin(self.ask(Kind::Addresses, name, |inner| inner.addresses(name)))
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
        Box::pin(self.ask(Kind::Tlsa, name, |inner| inner.tlsa(name)))
    }

    fn validates(&self) -> bool {
        self.inner.validates()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;

    /// A DNS in which every name that begins with `f` fails, one that begins with `s` is silent, and nothing else exists.
    #[derive(Default)]
    struct Broken(AtomicUsize);

    impl Broken {
        fn ask<'a, T: Send + 'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<T>, DnsError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                match name.as_bytes().first() {
                    Some(b'f' | b'F') => Err(DnsError::Failed("SERVFAIL".to_owned())),
                    Some(b's') => std::future::pending().await,
                    _ => Err(DnsError::NoSuchName),
                }
            })
        }
    }

    impl Resolver for Broken {
        fn srv<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Srv>, DnsError>> {
            self.ask(name)
        }

        fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, DnsError>> {
            self.ask(name)
        }

        fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<Tlsa>, DnsError>> {
            self.ask(name)
        }

        fn validates(&self) -> bool {
            false
        }
    }

    fn asked(resolver: &Remembering<Broken>) -> usize {
        resolver.inner.0.swap(0, Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_for_a_moment_and_for_this_question() {
        let resolver = Remembering::new(Broken::default());
        let failed = Some(DnsError::Failed("SERVFAIL".to_owned()));
        for name in ["fails.example", "fails.example", "Fails.example"] {
            assert_eq!(resolver.srv(name).await.err(), failed);
        }
        assert_eq!(asked(&resolver), 1);
        assert_eq!(resolver.addresses("fails.example").await.err(), failed);
        assert_eq!(resolver.tlsa("fails2.example").await.err(), failed);
        assert_eq!(asked(&resolver), 2);
        sleep(REMEMBERED).await;
        assert_eq!(resolver.srv("fails.example").await.err(), failed);
        assert_eq!(asked(&resolver), 1);
        // That there is nothing is no failure.
        for _ in 0..2 {
            assert_eq!(resolver.srv("nothing.example").await.err(), Some(DnsError::NoSuchName));
        }
        assert_eq!(asked(&resolver), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_has_waited_for_others_too() {
        let resolver = Remembering::new(Broken::default());
        // Somebody who goes at once has learnt nothing.
        assert!(timeout(GIVEN_UP / 2, resolver.srv("silent.example")).await.is_err());
        assert!(timeout(GIVEN_UP, resolver.srv("silent.example")).await.is_err());
        let known = timeout(Duration::ZERO, resolver.srv("silent.example")).await;
        assert_eq!(known.unwrap().err(), Some(DnsError::Failed("no answer".to_owned())));
        assert_eq!(asked(&resolver), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let resolver = Remembering::new(Broken::default());
        for number in 0..MOST + 10 {
            resolver.srv(&format!("f{number}.example")).await.unwrap_err();
        }
        assert_eq!(resolver.failures.lock().len(), MOST);
        sleep(REMEMBERED).await;
        resolver.srv("fails.example").await.unwrap_err();
        assert_eq!(resolver.failures.lock().len(), 1);
    }
}
