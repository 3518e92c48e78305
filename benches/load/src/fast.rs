//! Logins of clients that have been here before: in one request by SASL2 (XEP-0388), with a token in place of a password
//! (XEP-0484) and Bind 2 (XEP-0386).

use std::io;
use std::rc::Rc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Kit, Session, Site};
use crate::scram::PASSWORD;
use crate::tls::{self, Tickets};

/// Without channel binding, as where nothing is computed beside the token.
const MECHANISM: &str = "HT-SHA-256-NONE";

/// A client of the account with this number, and what it knows: nobody else's tickets, so that it has one each time.
pub struct Returning {
    user: String,
    agent: String,
    token: String,
    kit: Kit,
}

impl Returning {
    /// Logs in with the password and gets a token for the next time.
    pub async fn new(site: Site, number: usize) -> io::Result<Self> {
        let kit = Kit { tls: tls::client(Tickets::Used), cache: Rc::default() };
        let (user, agent) = (format!("c{number}"), format!("00000000-0000-4000-8000-{number:012}"));
        let message = format!("\0{user}\0{PASSWORD}");
        let wish = format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{MECHANISM}'/>");
        let (session, success) =
            Session::authenticate(&site, &authenticate("PLAIN", message.as_bytes(), &agent, &wish), &kit).await?;
        let token = success.split_once(" token='").and_then(|(_, rest)| Some(rest.split_once('\'')?.0.to_owned()));
        let token = token.ok_or_else(|| io::Error::other(format!("no token: {success}")))?;
        session.close().await?;
        Ok(Self { user, agent, token, kit })
    }

    /// Logs in with it, and binds.
    pub async fn login(&self, site: &Site) -> io::Result<Session> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token.as_bytes());
        let message = [self.user.as_bytes(), b"\0", hmac::sign(&key, b"Initiator").as_ref()].concat();
        let wishes = "<bind xmlns='urn:xmpp:bind:0'><tag>load</tag></bind><fast xmlns='urn:xmpp:fast:0'/>";
        let request = authenticate(MECHANISM, &message, &self.agent, wishes);
        let (mut session, success) = Session::authenticate(site, &request, &self.kit).await?;
        if !success.contains(&format!("{}@{}/load/", self.user, site.domain)) {
            return Err(io::Error::other(format!("not bound: {success}")));
        }
        session.features().await?;
        Ok(session)
    }
}

fn authenticate(mechanism: &str, message: &[u8], agent: &str, wishes: &str) -> String {
    format!(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'><initial-response>{}</initial-response>\
         <user-agent id='{agent}'/>{wishes}</authenticate>",
        STANDARD.encode(message)
    )
}
