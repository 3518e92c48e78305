//! XEP-0377 Blocking Command Reports, version 0.4.1: somebody says why he blocks somebody else (XEP-0191), and those who
//! look after the server read it: it is in the log, and a message of the domain goes to every administrator.
//!
//! Nothing is passed on to other servers or to third parties, whatever the report allows.

use crate::hooks::{Entity, Extension, Registrar, Spec};

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0377", version: "0.4.1" },
    name: "reports",
    advertises: &[(Entity::Domain, NS)],
    commands: &[],
    wanted: Extension::ALWAYS,
    install,
};

const NS: &str = "urn:xmpp:reporting:1";

/// Reports come with blocking, which reads them.
const fn install(_: &mut Registrar<'_>) {}

/// For the extension that reports come with.
pub(super) mod api {
    use std::fmt::Write;
    use std::sync::Arc;

    use crate::hooks::{Outbound, Registrar, Settings};
    use crate::jid::{BareJid, Jid};
    use crate::live::Live;
    use crate::stanza::{CLIENT_NS, Condition, Kind, MessageType, Stanza, StanzaError};
    use crate::xml::Element;

    use super::super::xep_0359_stanza_ids::api::NS as IDS_NS;
    use super::NS;

    /// The most characters that are passed on of a text or a reason, and the most ids of messages.
    const MOST_TEXT: usize = 2000;
    const MOST_REASON: usize = 100;
    const MOST_IDS: usize = 20;

    /// Why somebody was blocked.
    #[derive(Debug, PartialEq, Eq)]
    pub(in crate::extensions) struct Report {
        reason: String,
        text: Option<String>,
        /// Ids of messages in the reporter's archive.
        messages: Vec<String>,
    }

    impl Report {
        /// Reads the report in an item of a request to block, if it has one.
        pub(in crate::extensions) fn read(item: &Element) -> Result<Option<Self>, StanzaError> {
            let Some(report) = item.child("report", NS) else { return Ok(None) };
            let short =
                |text: &str, most: usize| -> String { text.chars().filter(|c| !c.is_control()).take(most).collect() };
            // XEP-0377 §4.
            let reason = report.attribute("reason").filter(|reason| !reason.is_empty());
            let reason = reason.ok_or_else(|| StanzaError::new(Condition::BadRequest, "a report has a reason"))?;
            let text = report.child("text", NS).map(|text| text.text().trim().to_owned());
            let ids = report.elements().filter(|element| element.is("stanza-id", IDS_NS));
            let ids = ids.filter_map(|element| element.attribute("id")).take(MOST_IDS);
            Ok(Some(Self {
                reason: short(reason, MOST_REASON),
                text: text.filter(|text| !text.is_empty()).map(|text| text.chars().take(MOST_TEXT).collect()),
                messages: ids.map(|id| short(id, MOST_REASON)).collect(),
            }))
        }

        /// What an administrator reads.
        fn told(&self, by: &BareJid, about: &Jid) -> String {
            let mut told = format!("{by} has blocked {about}\nReason: {}", self.reason);
            // Writing to a string cannot fail.
            if !self.messages.is_empty() {
                let _ = write!(told, "\nMessages in the archive of {by}: {}", self.messages.join(", "));
            }
            if let Some(text) = &self.text {
                let _ = write!(told, "\n\n{text}");
            }
            told
        }
    }

    /// The way of reports.
    pub(in crate::extensions) struct Reports {
        outbound: Arc<dyn Outbound>,
        settings: Live<Settings>,
    }

    impl Reports {
        pub(in crate::extensions) fn new(at: &Registrar<'_>) -> Self {
            Self { outbound: Arc::clone(at.outbound), settings: at.settings.clone() }
        }

        /// Has those read a report who look after the server. What the reporter writes is not for the log.
        pub(in crate::extensions) async fn hand_on(&self, by: &BareJid, about: &Jid, report: &Report) {
            let Report { reason, messages, .. } = report;
            tracing::warn!(reporter = %by, reported = %about, %reason, messages = messages.len(), "somebody was reported");
            let told = report.told(by, about);
            let admins = self.settings.load().admins.all();
            for admin in admins {
                let from = Jid::from(BareJid::from_kept(by.domain()));
                let mut payload = Element::new("subject", CLIENT_NS).with_text("Report").to_xml(CLIENT_NS);
                Element::new("body", CLIENT_NS).with_text(&told).write(&mut payload, CLIENT_NS);
                let message = Stanza::new(Kind::Message(MessageType::Normal)).from(from).to(Jid::from(admin));
                self.outbound.send(message.payload(crate::stanza::Payload::canonical(payload))).await;
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn read(report: &str) -> Result<Option<Report>, StanzaError> {
            Report::read(&Element::parse(&format!("<item xmlns='x' jid='a.example'>{report}</item>"), "").unwrap())
        }

        // Proves: XEP-0377 §4
        #[test]
        fn a_report_has_a_reason_and_perhaps_more() {
            assert_eq!(read(""), Ok(None));
            assert_eq!(read("<report reason='urn:xmpp:reporting:spam'/>"), Ok(None), "it is of another namespace");
            assert_eq!(read(&format!("<report xmlns='{NS}'/>")).unwrap_err().condition, Condition::BadRequest);
            let full = format!(
                "<report xmlns='{NS}' reason='urn:xmpp:reporting:spam'><stanza-id xmlns='{IDS_NS}' by='a' id='1'/>\
                 <stanza-id xmlns='{IDS_NS}' by='a' id='2'/><text xml:lang='en'> Never came\ntrouble </text></report>"
            );
            let report = read(&full).unwrap().unwrap();
            assert_eq!(report.messages, ["1", "2"]);
            let (juliet, romeo) =
                ("juliet@capulet.example".parse().unwrap(), "romeo@montague.example".parse().unwrap());
            assert_eq!(
                report.told(&juliet, &romeo),
                "juliet@capulet.example has blocked romeo@montague.example\nReason: urn:xmpp:reporting:spam\n\
                 Messages in the archive of juliet@capulet.example: 1, 2\n\nNever came\ntrouble"
            );
        }

        #[test]
        fn a_report_is_not_endless() {
            let ids: String = (0..100).map(|id| format!("<stanza-id xmlns='{IDS_NS}' id='{id}'/>")).collect();
            let long = "x".repeat(10_000);
            let report = read(&format!("<report xmlns='{NS}' reason='{long}'>{ids}<text>{long}</text></report>"));
            let report = report.unwrap().unwrap();
            assert_eq!(report.reason.len(), MOST_REASON);
            assert_eq!(report.messages.len(), MOST_IDS);
            assert_eq!(report.text.map(|text| text.len()), Some(MOST_TEXT));
        }
    }
}
