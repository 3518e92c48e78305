//! What the gate refuses, several rows for each class of illegal or unwanted XML: 18 classes, and
//! text that is not UTF-8. Every row is addressed to juliet, who must not get it.

use comity::stream::StreamCondition as Condition;

/// One piece of hostile markup between first-level elements.
pub(crate) struct Row {
    pub(crate) class: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) condition: &'static str,
}

macro_rules! rows {
    ($($class:literal $condition:ident { $($bytes:expr),+ $(,)? })+) => {
        &[$($(Row { class: $class, bytes: $bytes, condition: Condition::$condition.as_str() }),+),+]
    };
}

/// A stanza whose payload is this.
macro_rules! inside {
    ($payload:literal) => {
        concat!("<message type='chat' to='juliet@a.example'><body>", $payload, "</body></message>").as_bytes()
    };
}

/// A stanza with this behind its first attribute.
macro_rules! tag {
    ($attributes:literal) => {
        concat!("<message to='juliet@a.example'", $attributes, "><body>x</body></message>").as_bytes()
    };
}

/// The rows, in the order of the classes.
pub(crate) const ROWS: &[Row] = rows! {
    "1 control characters" NotWellFormed {
        b"<message to='juliet@a.example'><body>\x00</body></message>",
        inside!("0123456789abcdef\x01"),
        inside!("\x1f"),
        tag!(" id='\x02'"),
        b"<message to='juliet@a.example'><body><![CDATA[\x03]]></body></message>",
        b"<message to='juliet@a.example'><bo\x04dy/></message>",
    }
    "2 no characters" NotWellFormed {
        inside!("\u{fffe}"),
        inside!("\u{ffff}"),
        tag!(" id='\u{fffe}'"),
        inside!("<![CDATA[\u{ffff}]]>"),
    }
    "3 references to no character" NotWellFormed {
        inside!("&#0;"),
        inside!("&#1;"),
        inside!("&#xFFFE;"),
        inside!("&#xD800;"),
        inside!("&#x110000;"),
        inside!("&#99999999999999999999;"),
        tag!(" id='&#xB;'"),
    }
    "3 a reference without end" PolicyViolation { inside!("&#x0000000000000000000000000000000000000041;") }
    "4 entities" RestrictedXml {
        inside!("&foo;"),
        inside!("&nbsp;"),
        inside!("&lol9;&lol9;&lol9;"),
        tag!(" id='&foo;'"),
        b"<message to='juliet@a.example'><x xmlns='&foo;'/></message>",
    }
    "4 ampersands" NotWellFormed {
        inside!("&;"),
        inside!("& amp;"),
        inside!("a & b"),
        inside!("&#X41;"),
        inside!("&#;"),
        inside!("&#4a;"),
        tag!(" id='b&c'"),
    }
    "5 less-than in a value" NotWellFormed { tag!(" id='<'"), tag!(" id='a<b/>'") }
    "6 the end of no section" NotWellFormed { inside!("]]>"), inside!("a]]]>b"), inside!("<![CDATA[a]]>]]>") }
    "7 names" NotWellFormed {
        b"<1message to='juliet@a.example'/>",
        b"<-a/>",
        b"<a$/>",
        b"<>",
        b"< message to='juliet@a.example'/>",
        b"<message<body>",
        tag!(" 1='2'"),
        inside!("<\u{d7}/>"),
    }
    "8 qualified names" NotWellFormed {
        inside!("<a:b:c xmlns:a='x'/>"),
        inside!("<a: xmlns:a='x'/>"),
        inside!("<:a/>"),
        inside!("<p:1 xmlns:p='x'/>"),
        inside!("<xmlns:a/>"),
        tag!(" xmlns:='x'"),
    }
    "9 attributes without value" NotWellFormed {
        tag!(" id"),
        tag!(" id=1"),
        tag!(" id="),
        tag!(" ='1'"),
        tag!(" id='1''"),
        b"<message to='juliet@a.example' / >",
    }
    "10 no white space" NotWellFormed {
        tag!(" a='1'b='2'"),
        tag!("a='1'"),
        b"<message /to='juliet@a.example'>",
        b"<message to='juliet@a.example'></message a='1'>",
    }
    "11 an attribute twice" NotWellFormed {
        tag!(" to='juliet@a.example'"),
        tag!(" from='mallory@a.example' from='romeo@a.example'"),
        inside!("<a b='1' c='2' b='3'/>"),
        tag!(" xmlns:p='x' xmlns:p='x'"),
        inside!("<a xmlns='x' xmlns='y'/>"),
    }
    "12 an attribute twice by its namespace" NotWellFormed {
        tag!(" xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'"),
        inside!("<a xmlns:p='x&amp;y' xmlns:q='x&#38;y' q:b='1' p:b='2'/>"),
        inside!("<a xml:lang='a' xml:lang='b'/>"),
    }
    "13 prefixes that are not declared" NotWellFormed {
        b"<p:message to='juliet@a.example'/>",
        inside!("<p:a/>"),
        tag!(" p:a='1'"),
        inside!("<a xmlns:p='x'/><p:a/>"),
    }
    "14 declarations that are not allowed" NotWellFormed {
        tag!(" xmlns:p=''"),
        inside!("<a xmlns='http://www.w3.org/XML/1998/namespace'/>"),
        inside!("<a xmlns='http://www.w3.org/2000/xmlns/'/>"),
        tag!(" xmlns:p='http://www.w3.org/XML/1998/namespace'"),
        tag!(" xmlns:xml='x'"),
        tag!(" xmlns:xmlns='http://www.w3.org/2000/xmlns/'"),
    }
    "15 comments, instructions, document types" RestrictedXml {
        b"<!-- x -->",
        inside!("a<!---->b"),
        b"<?php echo 1 ?>",
        inside!("<?x y?>"),
        b"<!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol9 '&lol;&lol;'>]>",
        b"<!doctype a>",
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
        b"<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://a.example/'>%b;]>",
        // A parser in Rust panicked at this one (CVE-2023-34411).
        b"<!DOCTYPEs/%<!A",
        inside!("<!ENTITY b 'c'>"),
    }
    "15 markup that does not exist" NotWellFormed {
        inside!("<![INCLUDE[a]]>"),
        inside!("<![cdata[a]]>"),
        inside!("<! a>"),
    }
    "16 a declaration that comes late" RestrictedXml {
        b"<?xml version='1.0'?>",
        inside!("<?xml version='1.0'?>"),
    }
    "17 text between elements" BadFormat { b"text", b"&lt;", "\u{e4}".as_bytes(), b"<![CDATA[x]]>" }
    "17 end tags" NotWellFormed {
        b"<message to='juliet@a.example'></iq>",
        b"<message to='juliet@a.example'></messages>",
        inside!("<a></body></a>"),
        inside!("<p:a xmlns:p='x'></a>"),
        b"</message>",
        b"</stream>",
        b"</stream:stream x>",
        b"</stream:streams>",
    }
    "encoding" UnsupportedEncoding {
        b"<message to='juliet@a.example'><body>\xff</body></message>",
        b"<message to='juliet@a.example'><body>\xc0\x80</body></message>",
        b"<message to='juliet@a.example'><body>\xe0\x80\xaf</body></message>",
        b"<message to='juliet@a.example'><body>\xed\xa0\x80</body></message>",
        b"<message to='juliet@a.example'><body>\xf4\x90\x80\x80</body></message>",
        b"<message to='juliet@a.example'><body>\xe2\x82</body></message>",
        b"<message to='juliet\xc3@a.example'/>",
        b"<mess\xc3age/>",
        b"\xff\xfe<\x00m\x00",
        b"\xfe\xff\x00<\x00m",
    }
    "encoding: UTF-16 without a mark" NotWellFormed { b"<\x00m\x00/\x00>\x00", b"\x00<\x00m" }
    "namespaces of the content" InvalidNamespace {
        b"<message xmlns='jabber:server' to='juliet@a.example'/>",
        b"<s:message xmlns:s='jabber:server' to='juliet@a.example'/>",
        b"<message xmlns='jabber:component:accept' to='juliet@a.example'/>",
    }
    "first-level elements that do not exist" UnsupportedStanzaType {
        b"<msg to='juliet@a.example'/>",
        b"<Message to='juliet@a.example'/>",
        b"<handshake>aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e</handshake>",
        b"<x xmlns='urn:example:unknown'/>",
        b"<message xmlns='' to='juliet@a.example'/>",
        b"<message xmlns='JABBER:CLIENT' to='juliet@a.example'/>",
        b"<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>",
        b"<stream:features/>",
    }
};
