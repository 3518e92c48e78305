//! The sections of `comity.toml`, their keys and their defaults.

use std::path::PathBuf;

use crate::config::section::{Section, section};
use crate::config::{
    AccountName, Addresses, ContactUri, Dnssec, DomainName, FederationMode, LocalName, NameServer, Period, Pin,
    ProofKind, RoomCreation, Size,
};
use crate::secret::Secret;
use crate::telemetry::{Filter, Format};

/// Every section, in the order of the manual.
pub const SECTIONS: &[Section] = &[
    Config::SECTION,
    Domain::SECTION,
    Listen::SECTION,
    Tls::SECTION,
    Dns::SECTION,
    Federation::SECTION,
    Peer::SECTION,
    Contact::SECTION,
    Component::SECTION,
    Services::SECTION,
    Rooms::SECTION,
    Archive::SECTION,
    Push::SECTION,
    Registration::SECTION,
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
    with { domains: Vec<Domain>, listen: Listen, tls: Tls, dns: Dns, federation: Federation, peers: Vec<Peer>, contact: Contact, components: Vec<Component>, services: Services, rooms: Rooms, archive: Archive, push: Push, registration: Registration, limits: Limits, log: Log }
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
        /// Whether messages of this domain's accounts are archived, in place of `archive.enabled`.
        archive_enabled: Option<bool> = None, like "true";
        /// How long its archived messages are kept, in place of `archive.retention`.
        archive_retention: Option<Period> = None, like "\"90d\"";
        /// How many archived messages its accounts may have, in place of `archive.messages_per_account`.
        archive_messages_per_account: Option<usize> = None, like "100000";
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
        /// Components, if there are `[[components]]`. They do not encrypt: keep this to the machine itself, or
        /// to a network that nobody else is on.
        component: Addresses = Addresses::loopback(5347);
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
        /// Files with certificates in PEM of authorities that vouch for clients: a client may show a certificate from
        /// one of them that names its address, and log in with it in place of a password (XEP-0178). Whoever has the
        /// key of such an authority can log in as anybody. When the list is empty, clients are not asked for
        /// certificates.
        client_trust_anchors: Vec<PathBuf> = Vec::new();
    }
}

section! {
    /// How other domains are found.
    Dns, "dns", Once {
        /// The DNS servers to ask, as addresses with or without port. When the list is empty, those of
        /// this machine (/etc/resolv.conf) are asked.
        servers: Vec<NameServer> = Vec::new();
        /// Whether signatures of answers (DNSSEC) are checked, by this server itself: `"auto"` (where the DNS servers pass
        /// them on; once they have done so, they have to), `"required"` (always: a DNS server that does not pass them on
        /// is no use) or `"off"`. What is signed lets other servers prove their domains by keys that the DNS names (DANE),
        /// and what is signed wrongly is not followed.
        dnssec: Dnssec = Dnssec::Auto;
        /// A file with the keys with which all trust in signatures begins: DNSKEY records, as in a zone file. Without it,
        /// the keys of the root of the DNS.
        trust_anchors: Option<PathBuf> = None, like "\"/etc/comity/root.key\"";
    }
}

section! {
    /// Other servers.
    Federation, "federation", Once {
        /// With which domains the server talks: `"open"` (all), `"closed"` (none, except among its own) or
        /// `"listed"` (those in `allow`). A domain in `[[peers]]` may be an exception, but not to `"closed"`.
        mode: FederationMode = FederationMode::Open;
        /// The domains for `mode = "listed"`.
        allow: Vec<DomainName> = Vec::new();
        /// Whether a server without a trusted certificate may prove its domain by dialback alone
        /// (XEP-0220). That is only as safe as the DNS.
        accept_dialback: bool = false;
        /// Keys of other servers, for example `["example.org sha256:e3b0...b855"]`: the domain, and the SHA-256 hash of
        /// the public key as it stands in a certificate, in hexadecimal digits. A domain may have several. Nothing but one
        /// of its keys proves such a domain, and whoever has it needs nothing else.
        pins: Vec<Pin> = Vec::new();
        /// Whether one connection between two servers may carry stanzas both ways, if the other server wants that, too
        /// (XEP-0288): half the connections, and servers that nobody can connect to hear from this one. Stanzas that
        /// are on their way when such a connection breaks may arrive twice, because they are not counted (XEP-0198).
        bidi: bool = false;
        /// How long the way to another server may take, from the DNS to the end of its authentication,
        /// before what waits for it is answered with an error.
        connect_timeout: Period = Period::seconds(30);
        /// How long a message waits for a server that cannot be reached, if its sender was told that it is safe
        /// (XEP-0198); then he gets an error. Anything else is answered at once, and so are messages to domains
        /// that do not exist. `"0s"` means that nothing waits.
        expiry: Period = Period::seconds(3600);
        /// How long a connection to another server may be idle before it is closed.
        idle_timeout: Period = Period::seconds(600);
        /// How much may wait for one other domain, or be on its way there; more is answered with an error.
        queue_bytes: Size = Size::mib(8);
        /// How much may wait for all other domains together.
        queue_bytes_total: Size = Size::mib(64);
    }
}

section! {
    /// Other domains for which something else holds than for all: one `[[peers]]` each. `comity reload` has it hold at
    /// once, for streams that are open, too.
    Peer, "peers", Repeated {
        /// The other domain, exactly; those below it are not meant.
        name: DomainName = DomainName::unnamed(), like "\"example.net\"";
        /// Whether the server talks with it, in place of what `federation.mode` says; `"closed"` has no exceptions.
        federate: Option<bool> = None, like "false";
        /// What proves that a server speaks for it, in place of what holds for all: `"pkix"` (a certificate of an
        /// authority that is trusted), `"dane"` (a key that the signed DNS names), `"pin"` (one of
        /// `federation.pins`), `"dialback"` (XEP-0220).
        proofs: Option<Vec<ProofKind>> = None, like "[\"dane\", \"dialback\"]";
        /// The same as `limits.server_stanzas_per_second`.
        stanzas_per_second: Option<usize> = None, like "10000";
        /// The same as `limits.server_bytes_per_second`.
        bytes_per_second: Option<Size> = None, like "\"10MiB\"";
        /// The same as `limits.server_streams`.
        streams: Option<usize> = None, like "100";
        /// The same as `limits.server_recipients_per_hour`.
        recipients_per_hour: Option<usize> = None, like "20000";
        /// The same as `limits.server_requests_per_hour`.
        requests_per_hour: Option<usize> = None, like "5000";
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
    /// Programs of others that serve a domain of their own through this server, such as gateways to other
    /// networks (XEP-0114): one `[[components]]` each. They may speak for everybody at that domain.
    Component, "components", Repeated {
        /// The domain of the component; often one below a domain of this server, which then lists it among
        /// its services. Other servers find it as they find any other domain, in the DNS.
        name: DomainName = DomainName::unnamed(), like "\"irc.example.org\"";
        /// What people read in the list of services.
        title: Option<String> = None, like "\"Chat rooms of IRC\"";
        /// What the component proves itself with.
        secret: Option<Secret> = None, like "\"long and random\"";
        /// A file that holds the secret, in place of `secret`. White space around it does not count.
        secret_file: Option<PathBuf> = None, like "\"/etc/comity/irc.secret\"";
        /// The largest stanza taken from the component, at least 10000 bytes.
        stanza: Size = Size::kib(512);
        /// How much may wait for the component when it reads slowly; more is answered with an error.
        queue_bytes: Size = Size::mib(1);
    }
}

section! {
    /// What the server offers under names of its own, each a domain that is found in the DNS and named in the certificate as
    /// any other.
    Services, "services", Once {
        /// The domains of rooms in which many talk (XEP-0045), for example `["rooms.example.org"]`; the domain of this
        /// server that is nearest above one lists it among its services. When the list is empty, there are no rooms.
        rooms: Vec<DomainName> = Vec::new();
    }
}

section! {
    /// Rooms, if `services.rooms` names a domain for them.
    Rooms, "rooms", Once {
        /// Who may make rooms: `"local"` (accounts of this server), `"admins"` or `"anybody"`, from whatever server.
        create: RoomCreation = RoomCreation::Local;
        /// Whether administrators of the server own every room.
        admins_own: bool = true;
        /// How many rooms there may be.
        rooms: usize = 100_000;
        /// How many may be in one room. Its owners may set less.
        occupants: usize = 5000;
        /// Whether a room stays when nobody is in it, if its owner does not say.
        persistent: bool = false;
        /// Whether a room is in the list of rooms, if its owner does not say.
        public: bool = true;
        /// Whether everybody in a room sees the addresses of the others, if its owner does not say. Otherwise moderators do.
        non_anonymous: bool = false;
        /// Whether a room that stays has an archive that its occupants can read, if its owner does not say.
        archive: bool = true;
        /// How long messages are kept: in the archives of rooms, and for those who enter. `"0s"` means as long as the room.
        archive_retention: Period = Period::seconds(0);
        /// How many messages the archive of one room may have; the oldest go first. That is looked at once an hour, so
        /// there may be more for a while. `0` means any number.
        archive_messages_per_room: usize = 0;
        /// How many messages are shown to who enters, if the owner of the room does not say.
        history: usize = 20;
        /// How many messages one occupant may send each second in the long run; more are refused. His entries and changes
        /// of presence count as well. `0` is no limit.
        messages_per_second: usize = 10;
        /// How many times all from one other domain may enter rooms each second in the long run; more are refused.
        domain_entries_per_second: usize = 20;
        /// How many messages and requests all from one other domain may send to rooms each second in the long run; more are
        /// refused.
        domain_messages_per_second: usize = 200;
        /// How many seconds' worth of these may come at once after a pause.
        burst: Period = Period::seconds(10);
    }
}

section! {
    /// The archive: every account's messages, for its clients to read again (XEP-0313). A domain in `[[domains]]` may
    /// have other values, and `[rooms]` says what holds for those of rooms.
    Archive, "archive", Once {
        /// Whether messages are archived. Without, they are kept only until they are delivered.
        enabled: bool = true;
        /// How long archived messages are kept. `"0s"` means for ever.
        retention: Period = Period::seconds(0);
        /// How many archived messages an account may have; the oldest go first. That is looked at once an hour, so
        /// there may be more for a while. `0` means any number.
        messages_per_account: usize = 0;
    }
}

section! {
    /// Notifications: clients on phones have a service of their maker's told that something has come while they are not
    /// connected (XEP-0357). Such a service learns when messages come, and nothing else by default.
    Push, "push", Once {
        /// Whether clients may ask for that.
        enabled: bool = true;
        /// Whether the services are told who has sent the last message.
        include_sender: bool = false;
        /// Whether they are told the beginning of its text.
        include_body: bool = false;
    }
}

section! {
    /// Accounts that people make and manage themselves, with their clients (XEP-0077).
    Registration, "registration", Once {
        /// Whether anybody may make himself an account. Whoever turns this on invites spammers too.
        enabled: bool = false;
        /// How many attempts one address may make within an hour. Of IPv6, a /56 network counts as one address.
        attempts_per_address: usize = 10;
        /// Names that nobody may give himself, beside those of administrators. The operator may give them to
        /// accounts all the same.
        reserved_names: Vec<LocalName> = reserved_names();
        /// Whether people may change the password of their account and give it up with their clients.
        self_service: bool = true;
    }
}

/// Names of which others believe that they speak for the domain, those of RFC 2142 among them.
fn reserved_names() -> Vec<LocalName> {
    const NAMES: [&str; 33] = [
        "abuse",
        "admin",
        "administrator",
        "billing",
        "contact",
        "daemon",
        "help",
        "helpdesk",
        "hostmaster",
        "info",
        "mailer-daemon",
        "marketing",
        "moderator",
        "news",
        "no-reply",
        "nobody",
        "noc",
        "noreply",
        "operator",
        "postmaster",
        "privacy",
        "register",
        "registration",
        "root",
        "sales",
        "security",
        "server",
        "service",
        "ssladmin",
        "support",
        "system",
        "webmaster",
        "xmpp",
    ];
    NAMES.iter().filter_map(|name| name.parse().ok()).collect()
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
        /// How many stanzas another domain may send each second in the long run, on all its streams together.
        /// Whoever sends more is read more slowly. Here and in the keys that follow, `0` is no limit, and
        /// `[[peers]]` may say something else for one domain.
        server_stanzas_per_second: usize = 1000;
        /// The same in bytes.
        server_bytes_per_second: Size = Size::mib(1);
        /// How many seconds' worth of stanzas and bytes it may send at once after a pause, at most an hour. The more it
        /// is, the more may come for one client before that client can have read it.
        server_burst: Period = Period::seconds(2);
        /// How many streams another domain may have open to this server at once; a further one is ended with an
        /// error.
        server_streams: usize = 32;
        /// How many streams of other domains there may be from one address, whatever domains they are for. Of
        /// IPv6, a /56 network counts as one address.
        server_streams_per_address: usize = 2000;
        /// How many times a minute other servers may connect from one address, all at once if need be. Further
        /// connections are closed before anything is read. Of IPv6, a /56 network counts as one address.
        server_connects_per_minute: usize = 200;
        /// To how many people here another domain may send messages and requests within an hour; to
        /// further ones it gets an error, while those that it has reached already stay in reach.
        server_recipients_per_hour: usize = 2000;
        /// How many requests to see somebody's presence another domain may send within an hour; to further ones
        /// it gets an error.
        server_requests_per_hour: usize = 500;
        /// How many such requests from one other domain may wait for the answer of one account.
        server_requests_waiting: usize = 100;
        /// How much memory all connections that have not authenticated may use together. Beyond it,
        /// connections are closed.
        unauthenticated_bytes: Size = Size::mib(256);
        /// The same for those of one address. Of IPv6, a /56 network counts as one address. Many people may
        /// share an address and all come back at once; among addresses, what there is is shared evenly.
        unauthenticated_bytes_per_address: Size = Size::mib(64);
        /// How long a connection has to authenticate.
        authentication_deadline: Period = Period::seconds(30);
        /// How many attempts to log in with a password may fail within an hour from one address. Of IPv6, a /56
        /// network counts as one address. Beyond it even a right password is refused, except where the account has been
        /// logged in to from this address before, or by this client. `0` is any number.
        failed_logins_per_address: usize = 50;
        /// The same for those at one account, from wherever. Clients that are connected notice nothing of it.
        failed_logins_per_account: usize = 100;
        /// How long a client may stay away that logs in with a token in place of the password (XEP-0484). A token is
        /// replaced when it is used, once a day. `"0s"` means that there are no tokens.
        token_lifetime: Period = Period::seconds(21 * 24 * 3600);
        /// For how long it is remembered which clients have logged in to an account, what they call themselves and when
        /// they were here, for its owner to see (XEP-0494). `"0s"` means not at all; those that are connected or have a
        /// token are listed all the same.
        client_retention: Period = Period::seconds(90 * 24 * 3600);
        /// How many contacts an account may have.
        roster_items: usize = 5000;
        /// How many messages are kept for an account that is offline; further ones are answered with an
        /// error.
        offline_messages: usize = 1000;
        /// How much may wait for one client that reads slowly, before it is disconnected. With what else a session
        /// takes it costs less than 1 MiB then.
        ring_bytes: Size = Size::kib(704);
        /// How long the session of a client that has lost its connection waits for it to come back, if the
        /// client asked for that (XEP-0198). `"0s"` means not at all.
        resume_timeout: Period = Period::seconds(300);
        /// How many clients of one account may be connected at once, with those whose sessions wait for them to come
        /// back; one that waits makes room for one that comes.
        sessions_per_account: usize = 20;
        /// For how long nobody gets the name of an account that was removed, unless the operator insists
        /// (`comity account add --reuse`). Others may still take whoever is called so for its old owner.
        name_reuse: Period = Period::seconds(365 * 24 * 3600);
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
