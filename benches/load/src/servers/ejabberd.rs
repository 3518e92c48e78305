//! ejabberd as Debian packages it: the modules of its default configuration without those that limit clients or
//! need other listeners, no archive; run by `erl` with the package's flags, but without Erlang distribution.

use std::fs;
use std::io;
use std::process::Command;

use super::Server;
use crate::population::Population;
use crate::scram::PASSWORD;

pub(super) fn prepare(server: &Server, population: &Population) -> io::Result<()> {
    let directory = server.directory.display();
    let config = format!(
        r#"hosts:
  - {domain}
loglevel: warning
log_rotate_count: 0
certfiles:
  - {directory}/chain.pem
  - {directory}/key.pem
ca_file: {directory}/root.pem
s2s_cafile: {directory}/root.pem
define_macro:
  'TLS_CIPHERS': "HIGH:!aNULL:!eNULL:!3DES:@STRENGTH"
  'TLS_OPTIONS':
    - "no_sslv3"
    - "no_tlsv1"
    - "no_tlsv1_1"
    - "cipher_server_preference"
    - "no_compression"
c2s_ciphers: 'TLS_CIPHERS'
s2s_ciphers: 'TLS_CIPHERS'
c2s_protocol_options: 'TLS_OPTIONS'
s2s_protocol_options: 'TLS_OPTIONS'
auth_method: internal
auth_password_format: scram
disable_sasl_mechanisms:
  - "digest-md5"
  - "X-OAUTH2"
s2s_use_starttls: required
max_fsm_queue: 1000000
listen:
  - port: {start_tls}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    starttls_required: true
    backlog: 4096
    protocol_options: 'TLS_OPTIONS'
  - port: {direct_tls}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    tls: true
    backlog: 4096
    protocol_options: 'TLS_OPTIONS'
  - port: {s2s}
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
    max_stanza_size: 524288
access_rules:
  local:
    - allow: all
  c2s:
    - allow: all
  announce:
    - deny: all
  configure:
    - deny: all
  muc_create:
    - allow: all
  pubsub_createnode:
    - allow: all
shaper_rules:
  max_user_offline_messages: 5000
modules:
  mod_adhoc: {{}}
  mod_admin_extra: {{}}
  mod_announce:
    access: announce
  mod_avatar: {{}}
  mod_blocking: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_client_state: {{}}
  mod_configure: {{}}
  mod_disco: {{}}
  mod_last: {{}}
  mod_muc:
    access_create: muc_create
  mod_offline:
    access_max_user_messages: max_user_offline_messages
  mod_ping: {{}}
  mod_privacy: {{}}
  mod_private: {{}}
  mod_pubsub:
    access_createnode: pubsub_createnode
    plugins:
      - flat
      - pep
  mod_push: {{}}
  mod_push_keepalive: {{}}
  mod_roster:
    versioning: true
  mod_s2s_dialback: {{}}
  mod_shared_roster: {{}}
  mod_stream_mgmt:
    resend_on_timeout: if_offline
  mod_vcard:
    search: false
  mod_vcard_xupdate: {{}}
  mod_version: {{}}
"#,
        domain = server.site.domain,
        start_tls = server.site.start_tls.port(),
        direct_tls = server.site.direct_tls.port(),
        s2s = server.s2s.port(),
    );
    fs::write(server.path("ejabberd.yml"), config)?;
    let (ip, port) = (server.dns.ip().to_string().replace('.', ","), server.dns.port());
    let resolver = "{resolv_conf,\"\"}.\n{lookup,[\"file\",\"dns\"]}.\n{host,{127,0,0,1},[\"localhost\"]}.\n";
    fs::write(server.path("inetrc"), format!("{resolver}{{nameserver,{{{ip}}},{port}}}.\n"))?;
    fs::write(server.path("populate.erl"), populate(server, population))?;
    server.give_away()?;
    let mut command = command(server);
    command.arg("-eval").arg(format!("{{ok, done}} = file:script(\"{directory}/populate.erl\"), init:stop()."));
    server.run(command)
}

/// An Erlang script that writes accounts and rosters into Mnesia; every account has the keys of the first.
fn populate(server: &Server, population: &Population) -> String {
    let domain = &server.site.domain;
    let users: Vec<String> = population
        .users()
        .map(|user| {
            let contacts: Vec<String> =
                population.contacts(&user).iter().map(|contact| format!("<<\"{contact}\">>")).collect();
            format!("{{<<\"{user}\">>, [{}]}}", contacts.join(","))
        })
        .collect();
    format!(
        r#"Host = <<"{domain}">>,
ejabberd_auth:try_register(<<"template">>, Host, <<"{PASSWORD}">>),
[Template] = mnesia:dirty_read(passwd, {{<<"template">>, Host}}),
lists:foreach(fun({{User, Contacts}}) ->
  mnesia:dirty_write(setelement(2, Template, {{User, Host}})),
  lists:foreach(fun(Contact) ->
    Address = {{Contact, Host, <<>>}},
    mnesia:dirty_write({{roster, {{User, Host, Address}}, {{User, Host}}, Address, <<>>, both, none, [], <<>>, []}})
  end, Contacts)
end, [{}]),
mnesia:dump_log(),
done.
"#,
        users.join(",\n")
    )
}

pub(super) fn command(server: &Server) -> Command {
    let mut command = Command::new("erl");
    command.args(["-noinput", "+K", "true", "+P", "250000", "-env", "ERL_CRASH_DUMP_BYTES", "0", "-mnesia", "dir"]);
    command.arg(format!("\"{}\"", server.path("data").display()));
    command.env("EJABBERD_CONFIG_PATH", server.path("ejabberd.yml"));
    command.env("EJABBERD_LOG_PATH", server.path("ejabberd.log"));
    command.env("ERL_INETRC", server.path("inetrc"));
    command.env("ERL_LIBS", "/usr/lib/x86_64-linux-gnu");
    command.args(["-s", "ejabberd"]);
    command
}
