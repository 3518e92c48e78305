//! The sections of `comity.toml`, their keys and their defaults.

use std::path::PathBuf;

use crate::config::section::{Section, section};
use crate::config::{AccountName, Addresses, ContactUri, DomainName, FederationMode, NameServer, Period, Size};
use crate::telemetry::{Filter, Format};

/// Every section, in the order of the manual.
pub const SECTIONS: &[Section] = &[
    Config::SECTION,
    Domain::SECTION,
    Listen::SECTION,
    Tls::SECTION,
    Dns::SECTION,
    Federation::SECTION,
    Contact::SECTION,
    Archive::SECTION,
    Limits::SECTION,
    Log::SECTION,
];

section! {
    /// The configuration of Comity. One line, the domain, is complete; everything else has a default.
    Config, "", Once {
        /// The domain of the accounts: what stands behind the @ of an address. Required, unless there
        /// are `[[domains]]`.
        domain: Option<DomainName> = None, like "\"example.org\"";
        /// Where accounts, rosters and messages are kept. A relative path starts at the directory of
        /// this file, here and everywhere else.
        data_dir: PathBuf = PathBuf::from("/var/lib/comity");
        /// The accounts of administrators, for example `["juliet@example.org"]`. Their clients can do what
        /// `comity account` does (XEP-0133).
        admins: Vec<AccountName> = Vec::new();
    }
    with { domains: Vec<Domain>, listen: Listen, tls: Tls, dns: Dns, federation: Federation, contact: Contact, archive: Archive, limits: Limits, log: Log }
}

section! {
    /// Several domains on one server: one `[[domains]]` each, instead of the line `domain = ...` at the top.
    Domain, "domains", Repeated {
        /// The domain of the accounts.
        name: DomainName = DomainName::unnamed(), like "\"example.org\"";
        /// The certificate of this domain, with its chain, in PEM. Without it, the one in `[tls]` is shown.
        certificate: Option<PathBuf> = None, like "\"/etc/letsencrypt/live/example.org/fullchain.pem\"";
        /// The private key of that certificate, in PEM.
        key: Option<PathBuf> = None, like "\"/etc/letsencrypt/live/example.org/privkey.pem\"";
    }
}

section! {
    /// Where the server listens. Each key is an address with a port, or a list of them; an empty list
    /// turns the listener off. An address of `[::]` takes IPv4 as well.
    Listen, "listen", Once {
        /// Clients that connect without encryption and must then turn it on (STARTTLS).
        c2s: Addresses = Addresses::any(5222);
        /// For tests on this machine: clients on `c2s` may authenticate without TLS, by SCRAM. Refused unless
        /// every address in `c2s` is a loopback address.
        c2s_without_tls: bool = false;
        /// Clients that use TLS from the first byte.
        c2s_tls: Addresses = Addresses::any(5223);
        /// Other servers that connect without encryption and must then turn it on (STARTTLS).
        s2s: Addresses = Addresses::any(5269);
        /// Other servers that use TLS from the first byte.
        s2s_tls: Addresses = Addresses::any(5270);
    }
}

section! {
    /// Certificates. On loopback addresses the server makes itself one for development when none is
    /// given; on any other address it does not start without.
    Tls, "tls", Once {
        /// The certificate with its chain, in PEM. It must name every domain that has none of its own.
        certificate: Option<PathBuf> = None, like "\"/etc/letsencrypt/live/example.org/fullchain.pem\"";
        /// The private key of the certificate, in PEM.
        key: Option<PathBuf> = None, like "\"/etc/letsencrypt/live/example.org/privkey.pem\"";
        /// Files with certificates in PEM that are trusted when other servers prove their domain, in
        /// addition to those that this machine trusts.
        trust_anchors: Vec<PathBuf> = Vec::new();
    }
}

section! {
    /// How other domains are found.
    Dns, "dns", Once {
        /// The DNS servers to ask, as addresses with or without port. When the list is empty, those of
        /// this machine (/etc/resolv.conf) are asked.
        servers: Vec<NameServer> = Vec::new();
    }
}

section! {
    /// Other servers.
    Federation, "federation", Once {
        /// With which domains the server talks: `"open"` (all), `"closed"` (none, except among its own) or
        /// `"listed"` (those in `allow`).
        mode: FederationMode = FederationMode::Open;
        /// The domains for `mode = "listed"`.
        allow: Vec<DomainName> = Vec::new();
        /// Whether a server without a trusted certificate may prove its domain by dialback alone
        /// (XEP-0220). That is only as safe as the DNS.
        accept_dialback: bool = false;
        /// How long the way to another server may take, from the DNS to the end of its authentication,
        /// before what waits for it is answered with an error.
        connect_timeout: Period = Period::seconds(30);
        /// How long a connection to another server may be idle before it is closed.
        idle_timeout: Period = Period::seconds(600);
        /// How much may wait for one other domain; more is answered with an error.
        queue_bytes: Size = Size::mib(1);
        /// How much may wait for all other domains together.
        queue_bytes_total: Size = Size::mib(64);
    }
}

section! {
    /// Whom to write to about this server: addresses that everybody can find out (XEP-0157). Each key is a list
    /// of URIs such as `"mailto:abuse@example.org"`, `"xmpp:abuse@example.org"` or `"https://example.org/abuse"`.
    Contact, "contact", Once {
        /// About abuse that comes from this server.
        abuse: Vec<ContactUri> = Vec::new();
        /// The people who run it.
        admin: Vec<ContactUri> = Vec::new();
        /// Opinions about the service.
        feedback: Vec<ContactUri> = Vec::new();
        /// Questions about buying.
        sales: Vec<ContactUri> = Vec::new();
        /// About security.
        security: Vec<ContactUri> = Vec::new();
        /// Where it says whether the service works.
        status: Vec<ContactUri> = Vec::new();
        /// Help for those who use it.
        support: Vec<ContactUri> = Vec::new();
    }
}

section! {
    /// The archive: every account's messages, for its clients to read again (XEP-0313).
    Archive, "archive", Once {
        /// Whether messages are archived. Without, they are kept only until they are delivered.
        enabled: bool = true;
        /// How long archived messages are kept. `"0s"` means for ever.
        retention: Period = Period::seconds(0);
    }
}

section! {
    /// What one peer may cost.
    Limits, "limits", Once {
        /// The largest stanza taken from a client, at least 10000 bytes.
        client_stanza: Size = Size::kib(256);
        /// How many stanzas a client may send each second in the long run. Whoever sends more is not cut off, but
        /// read more slowly. `0` is no limit.
        client_stanzas_per_second: usize = 50;
        /// The same in bytes.
        client_bytes_per_second: Size = Size::kib(20);
        /// How many seconds' worth of stanzas and bytes a client may send at once after a pause, at most an hour.
        client_burst: Period = Period::seconds(20);
        /// The largest stanza taken from another server, at least 10000 bytes.
        server_stanza: Size = Size::kib(512);
        /// How much memory all connections that have not authenticated may use together. Beyond it,
        /// connections are closed.
        unauthenticated_bytes: Size = Size::mib(256);
        /// The same for those of one address. Of IPv6, a /56 network counts as one address. Many people may
        /// share an address and all come back at once; among addresses, what there is is shared evenly.
        unauthenticated_bytes_per_address: Size = Size::mib(64);
        /// How long a connection has to authenticate.
        authentication_deadline: Period = Period::seconds(30);
        /// How many contacts an account may have.
        roster_items: usize = 5000;
        /// How many messages are kept for an account that is offline; further ones are answered with an
        /// error.
        offline_messages: usize = 1000;
        /// How much may wait for one client that reads slowly, before it is disconnected.
        ring_bytes: Size = Size::mib(1);
        /// How long the session of a client that has lost its connection waits for it to come back, if the
        /// client asked for that (XEP-0198). `"0s"` means not at all.
        resume_timeout: Period = Period::seconds(300);
        /// How many clients of one account may be connected at once.
        sessions_per_account: usize = 20;
    }
}

section! {
    /// What the server says about itself, on its standard error.
    Log, "log", Once {
        /// How much: `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`, or a list of such levels by module,
        /// for example `"info,comity::federation=debug"`. The environment variable `COMITY_LOG` goes first.
        level: Filter = Filter::default();
        /// `"text"` for people, `"json"` for programs (one object per line).
        format: Format = Format::Text;
    }
}
