//! ejabberd as Debian packages it: the modules of its default configuration without those that limit clients or
//! need other listeners, no archive; run by `erl` with the package's flags, but without Erlang distribution.

use std::fs;
use std::io;
use std::process::Command;

use super::Server;
use crate::population::Population;
use crate::scram::PASSWORD;

/// Its configuration; what stands between two @ is filled in.
const CONFIG: &str = include_str!("ejabberd.yml");

/// What the module of rooms has beside, where rooms are measured: its limits are below what is.
const ROOMS: &str = "hosts: [\"rooms.@HOST@\"]
    max_users: 10000
    max_user_conferences: 100000
    default_room_options:
      max_users: 10000";

pub(super) fn prepare(server: &Server, population: &Population) -> io::Result<()> {
    let directory = server.directory.display();
    let config = CONFIG
        .replace("@domain@", &server.site.domain)
        .replace("@directory@", &directory.to_string())
        .replace("@start_tls@", &server.site.start_tls.port().to_string())
        .replace("@direct_tls@", &server.site.direct_tls.port().to_string())
        .replace("@s2s@", &server.s2s.port().to_string())
        .replace("@rooms@", if server.has_rooms() { ROOMS } else { "" })
        .replace("@archive@", if server.archive { "mod_mam:\n    default: always" } else { "" });
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
