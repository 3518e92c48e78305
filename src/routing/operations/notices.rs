//! The operations on what a domain has to say to those who come.

use std::sync::Arc;

use crate::hooks::operation::{NameTaken, Nothing, Operation, OperationError, Operations, Role};
use crate::routing::Router;
use crate::routing::notices::{Motd, Notices};

use super::{Announcement, DomainOf, domain, failed};

/// Shows the message of the day.
pub const MOTD_SHOW: Operation<DomainOf, Option<String>> = Operation::new("motd.show", Role::Operator);
/// Sets a message of the day: who is online gets it now, everybody else when he comes.
pub const MOTD_SET: Operation<Announcement, Nothing> = Operation::new("motd.set", Role::Operator);
/// Corrects the message of the day: who has got it does not get it again.
pub const MOTD_EDIT: Operation<Announcement, Nothing> = Operation::new("motd.edit", Role::Operator);
/// Takes the message of the day back.
pub const MOTD_DELETE: Operation<DomainOf, Nothing> = Operation::new("motd.delete", Role::Operator);
/// Shows what somebody reads who logs in for the first time.
pub const WELCOME_SHOW: Operation<DomainOf, Option<String>> = Operation::new("welcome.show", Role::Operator);
/// Sets it.
pub const WELCOME_SET: Operation<Announcement, Nothing> = Operation::new("welcome.set", Role::Operator);
/// Takes it back.
pub const WELCOME_DELETE: Operation<DomainOf, Nothing> = Operation::new("welcome.delete", Role::Operator);

/// Whether a message of the day is another one or the same in other words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edition {
    New,
    Corrected,
}

/// Registers the operations of a running server.
///
/// # Errors
/// One of the names is taken.
pub(super) fn register(router: &Arc<Router>, operations: &mut Operations) -> Result<(), NameTaken> {
    let it = Arc::clone(router);
    operations.register(&MOTD_SHOW, move |asked: DomainOf| {
        let motd = notices(&it, &asked.domain).map(|(_, notices)| notices.motd.map(|motd| motd.text));
        std::future::ready(motd)
    })?;
    let it = Arc::clone(router);
    operations.register(&MOTD_SET, move |asked| set_motd(Arc::clone(&it), asked, Edition::New))?;
    let it = Arc::clone(router);
    operations.register(&MOTD_EDIT, move |asked| set_motd(Arc::clone(&it), asked, Edition::Corrected))?;
    let it = Arc::clone(router);
    operations.register(&MOTD_DELETE, move |asked| change(Arc::clone(&it), asked, |notices| notices.motd = None))?;
    let it = Arc::clone(router);
    operations.register(&WELCOME_SHOW, move |asked: DomainOf| {
        std::future::ready(notices(&it, &asked.domain).map(|(_, notices)| notices.welcome))
    })?;
    let it = Arc::clone(router);
    operations.register(&WELCOME_SET, move |asked: Announcement| {
        let Announcement { domain, text } = asked;
        change(Arc::clone(&it), DomainOf { domain }, move |notices| notices.welcome = Some(text))
    })?;
    let it = Arc::clone(router);
    operations.register(&WELCOME_DELETE, move |asked| change(Arc::clone(&it), asked, |notices| notices.welcome = None))
}

async fn set_motd(router: Arc<Router>, asked: Announcement, edition: Edition) -> Result<Nothing, OperationError> {
    let (domain, mut notices) = notices(&router, &asked.domain)?;
    let before = notices.motd.take().filter(|_| edition == Edition::Corrected);
    let is_new = before.is_none();
    let motd =
        Motd { number: before.map_or_else(|| router.clock.now().unix_ms(), |motd| motd.number), text: asked.text };
    notices.motd = Some(motd.clone());
    router.notices.replace(&router.storage, &domain, notices).await.map_err(failed)?;
    if is_new {
        router.tell_motd(&domain, &motd);
    }
    Ok(Nothing {})
}

async fn change(
    router: Arc<Router>,
    asked: DomainOf,
    change: impl FnOnce(&mut Notices) + Send,
) -> Result<Nothing, OperationError> {
    let (domain, mut notices) = notices(&router, &asked.domain)?;
    change(&mut notices);
    router.notices.replace(&router.storage, &domain, notices).await.map_err(failed)?;
    Ok(Nothing {})
}

/// The prepared name of a domain of this server, and what it has to say.
fn notices(router: &Router, text: &str) -> Result<(String, Notices), OperationError> {
    let domain = domain(text)?;
    let notices = router.notices.of(&domain).map(|notices| Notices::clone(&notices)).unwrap_or_default();
    Ok((domain, notices))
}
