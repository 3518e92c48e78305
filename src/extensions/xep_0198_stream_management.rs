//! XEP-0198 Stream Management, version 1.6.3: the words. Counting, keeping and coming back are the session's, and between
//! servers federation's.

use std::time::Duration;

use crate::hooks::{Acknowledgement, Extension, Heard, Peer, Registrar, Said, Spec, TooHigh, Wish};
use crate::stanza::{Condition, StanzaError};
use crate::stream::{StreamCondition, StreamError};
use crate::xml::Element;

const NS: &str = "urn:xmpp:sm:3";

pub(super) const EXTENSION: Extension = Extension {
    spec: Spec { name: "XEP-0198", version: "1.6.3" },
    name: "stream-management",
    // It is a stream feature and nothing that entities are asked for.
    advertises: &[],
    wanted: Extension::ALWAYS,
    commands: &[],
    install,
};

fn install(at: &mut Registrar<'_>) {
    at.acknowledgement(StreamManagement);
    // Who binds a resource together with his login asks for it at once.
    at.stream_feature(|stream| {
        // No features come after dialback, so a server that is about to prove itself is told before.
        let is_proven = stream.authenticated || (stream.peer == Peer::Server && stream.encrypted);
        (is_proven && !stream.bound).then(|| Element::new("sm", NS))
    });
    // XEP-0198 §9: the session does both.
    at.offer_at_login(Element::new("sm", NS));
    at.offer_at_binding(NS);
}

struct StreamManagement;

impl Acknowledgement for StreamManagement {
    fn read(&self, element: &Element) -> Option<Result<Said, StanzaError>> {
        if element.ns() != NS {
            return None;
        }
        let said = match element.name() {
            "enable" => enable(element),
            "r" => Some(Said::Request),
            "a" => number(element).map(Said::Handled),
            "resume" => resume(element),
            _ => return None,
        };
        Some(said.ok_or_else(|| Condition::BadRequest.into()))
    }

    fn request(&self) -> &'static str {
        "<r xmlns='urn:xmpp:sm:3'/>"
    }

    fn handled(&self, count: u32) -> String {
        format!("<a xmlns='{NS}' h='{count}'/>")
    }

    fn enabled(&self, resumption: Option<(&str, Duration)>) -> String {
        let mut enabled = Element::new("enabled", NS);
        if let Some((name, time)) = resumption {
            // Part of a second is not promised.
            enabled = enabled.with("id", name).with("resume", "true").with("max", &time.as_secs().to_string());
        }
        enabled.to_xml("")
    }

    fn resumed(&self, previous: &str, count: u32) -> String {
        Element::new("resumed", NS).with("previd", previous).with("h", &count.to_string()).to_xml("")
    }

    fn failed(&self, condition: Condition, count: Option<u32>) -> String {
        let mut failed = Element::new("failed", NS).with_child(condition.to_element());
        if let Some(count) = count {
            failed.set("h", &count.to_string());
        }
        failed.to_xml("")
    }

    fn is_offered(&self, features: &Element) -> bool {
        features.child("sm", NS).is_some()
    }

    fn enable(&self) -> &'static str {
        "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
    }

    fn resume(&self, previous: &str) -> String {
        Element::new("resume", NS).with("previd", previous).with("h", "0").to_xml("")
    }

    fn hear(&self, element: &Element) -> Option<Heard> {
        if element.ns() != NS {
            return None;
        }
        match element.name() {
            "enabled" => Some(Heard::Enabled(enabled(element))),
            "resumed" => number(element).map(Heard::Resumed),
            "failed" => Some(Heard::Failed(number(element))),
            "a" => number(element).map(Heard::Handled),
            "r" => Some(Heard::Request),
            _ => None,
        }
    }

    fn too_high(&self, fault: TooHigh) -> StreamError {
        let TooHigh { handled, sent } = fault;
        let detail = Element::new("handled-count-too-high", NS)
            .with("h", &handled.to_string())
            .with("send-count", &sent.to_string());
        let text = format!("you acknowledged {handled} stanzas, and {sent} were sent to you so far");
        StreamError::new(StreamCondition::UndefinedCondition, text).with_detail(detail)
    }
}

/// XEP-0198 §3.
fn enable(element: &Element) -> Option<Said> {
    let max = match element.attribute("max") {
        None => None,
        Some(text) => Some(Duration::from_secs(text.trim().parse().ok()?)),
    };
    // The two spellings of each truth value (XML Schema part 2 §3.2.2).
    let wish = match element.attribute("resume").map(str::trim) {
        None | Some("false" | "0") => Wish::Count,
        Some("true" | "1") => Wish::CountAndResume(max),
        Some(_) => return None,
    };
    Some(Said::Enable(wish))
}

/// The name of the stream and how long it is kept, if it may be resumed (XEP-0198 §5).
fn enabled(element: &Element) -> Option<(String, Option<Duration>)> {
    let may_resume = element.attribute("resume").is_some_and(|text| matches!(text.trim(), "true" | "1"));
    let name = element.attribute("id").filter(|name| may_resume && !name.is_empty())?;
    let max = element.attribute("max").and_then(|text| Some(Duration::from_secs(text.trim().parse().ok()?)));
    Some((name.to_owned(), max))
}

/// XEP-0198 §5.
fn resume(element: &Element) -> Option<Said> {
    let previous = element.attribute("previd")?.to_owned();
    Some(Said::Resume { previous, handled: number(element)? })
}

fn number(element: &Element) -> Option<u32> {
    element.attribute("h")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Option<Result<Said, Condition>> {
        let element = Element::parse(xml, "").unwrap();
        StreamManagement.read(&element).map(|said| said.map_err(|error| error.condition))
    }

    #[test]
    fn what_clients_say() {
        let resume = |max: Option<u64>| Said::Enable(Wish::CountAndResume(max.map(Duration::from_secs)));
        for (xml, said) in [
            ("<enable xmlns='urn:xmpp:sm:3'/>", Said::Enable(Wish::Count)),
            ("<enable xmlns='urn:xmpp:sm:3' resume='0' max='5'/>", Said::Enable(Wish::Count)),
            ("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", resume(None)),
            ("<enable xmlns='urn:xmpp:sm:3' resume='1' max='60'/>", resume(Some(60))),
            ("<r xmlns='urn:xmpp:sm:3'/>", Said::Request),
            ("<a xmlns='urn:xmpp:sm:3' h='4294967295'/>", Said::Handled(u32::MAX)),
            ("<resume xmlns='urn:xmpp:sm:3' previd='x' h='7'/>", Said::Resume { previous: "x".to_owned(), handled: 7 }),
        ] {
            assert_eq!(read(xml), Some(Ok(said)), "{xml}");
        }
    }

    #[test]
    fn what_makes_no_sense() {
        for xml in [
            "<a xmlns='urn:xmpp:sm:3'/>",
            "<a xmlns='urn:xmpp:sm:3' h='4294967296'/>",
            "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
            "<enable xmlns='urn:xmpp:sm:3' resume='yes'/>",
            "<enable xmlns='urn:xmpp:sm:3' max='soon'/>",
            "<resume xmlns='urn:xmpp:sm:3' h='1'/>",
            "<resume xmlns='urn:xmpp:sm:3' previd='x'/>",
        ] {
            assert_eq!(read(xml), Some(Err(Condition::BadRequest)), "{xml}");
        }
        assert_eq!(read("<a xmlns='urn:xmpp:sm:2' h='1'/>"), None);
        assert_eq!(read("<b xmlns='urn:xmpp:sm:3' h='1'/>"), None);
    }

    // Proves: XEP-0198 §5
    #[test]
    fn what_other_servers_say() {
        let sm = StreamManagement;
        let name = |max: Option<u64>| Some(("x".to_owned(), max.map(Duration::from_secs)));
        for (xml, heard) in [
            ("<enabled xmlns='urn:xmpp:sm:3'/>", Some(Heard::Enabled(None))),
            ("<enabled xmlns='urn:xmpp:sm:3' id='x'/>", Some(Heard::Enabled(None))),
            ("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='1'/>", Some(Heard::Enabled(name(None)))),
            ("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true' max='60'/>", Some(Heard::Enabled(name(Some(60))))),
            ("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='7'/>", Some(Heard::Resumed(7))),
            ("<failed xmlns='urn:xmpp:sm:3' h='7'/>", Some(Heard::Failed(Some(7)))),
            ("<failed xmlns='urn:xmpp:sm:3'/>", Some(Heard::Failed(None))),
            ("<a xmlns='urn:xmpp:sm:3' h='7'/>", Some(Heard::Handled(7))),
            ("<r xmlns='urn:xmpp:sm:3'/>", Some(Heard::Request)),
            ("<a xmlns='urn:xmpp:sm:3'/>", None),
            ("<a xmlns='urn:xmpp:sm:2' h='7'/>", None),
        ] {
            assert_eq!(sm.hear(&Element::parse(xml, "").unwrap()), heard, "{xml}");
        }
        let enable = Element::parse(sm.enable(), "").unwrap();
        assert_eq!(sm.read(&enable), Some(Ok(Said::Enable(Wish::CountAndResume(None)))));
        let resume = Element::parse(&sm.resume("x"), "").unwrap();
        assert_eq!(sm.read(&resume), Some(Ok(Said::Resume { previous: "x".to_owned(), handled: 0 })));
    }

    // Proves: XEP-0198 §3
    #[test]
    fn what_the_server_says() {
        let sm = StreamManagement;
        assert_eq!(sm.request(), Element::new("r", NS).to_xml(""));
        assert_eq!(sm.enabled(None), "<enabled xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(
            sm.enabled(Some(("x", Duration::from_millis(300_900)))),
            "<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true' max='300'/>"
        );
        assert_eq!(
            sm.failed(Condition::ItemNotFound, Some(3)),
            "<failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        );
        let error = sm.too_high(TooHigh { handled: 10, sent: 8 }).to_xml();
        assert!(error.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/>"), "{error}");
    }
}
