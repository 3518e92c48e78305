// A client made of @xmpp/client: node xmpp_player.mjs JID PASSWORD STATE. What it obeys and prints is in clients/program.py.
// STATE is a file that keeps the name of this device and its token (XEP-0484).
import fs from "node:fs";
import readline from "node:readline";
import { client, xml } from "@xmpp/client";

const [address, password, stateFile] = process.argv.slice(2);
const [username, domain] = address.split("@");
const CARBONS = "urn:xmpp:carbons:2";
const ARCHIVE = "urn:xmpp:mam:2";
const BLOCKING = "urn:xmpp:blocking";
const ROOMS = "http://jabber.org/protocol/muc";

function print(...words) {
  console.log(words.join(" ").replaceAll("\n", " "));
}

const state = fs.existsSync(stateFile) ? JSON.parse(fs.readFileSync(stateFile, "utf8")) : { agent: crypto.randomUUID() };
function keep(changes) {
  fs.writeFileSync(stateFile, JSON.stringify(Object.assign(state, changes)));
}
keep({});

const session = client({
  service: `xmpp://${domain}:5222`,
  domain,
  username,
  password,
  userAgent: xml("user-agent", { id: state.agent }, xml("software", {}, "a player")),
});
session.fast.saveToken = async (token) => keep({ token });
session.fast.fetchToken = async () => state.token;
session.fast.deleteToken = async () => keep({ token: null });

/** Shows a message that has a text, and what is in a copy of one. */
function show(element) {
  const copy = element.getChild("received", CARBONS) ?? element.getChild("sent", CARBONS) ?? element.getChild("result", ARCHIVE);
  const message = copy?.getChild("forwarded")?.getChild("message") ?? element;
  const text = message.getChildText("body");
  if (text && message.attrs.type !== "error") {
    print("shown", message.attrs.from, text);
  }
}

session.on("send", (element) => print("wire SEND", `${element}`));
session.on("element", (element) => print("wire RECV", `${element}`));
session.on("error", (error) => print("error", `${error}`));
session.on("stanza", (element) => element.is("message") && show(element));
session.on("online", async () => {
  await session.iqCaller.set(xml("enable", { xmlns: CARBONS }));
  await session.iqCaller.get(xml("query", { xmlns: "jabber:iq:roster" }));
  await session.send(xml("presence"));
  print("online");
  await session.iqCaller.set(xml("query", { xmlns: ARCHIVE }));
});

function speak(type, rest) {
  const [to, ...words] = rest.split(" ");
  return session.send(xml("message", { type, to, id: crypto.randomUUID() }, xml("body", {}, words.join(" "))));
}

const orders = {
  say: (rest) => speak("chat", rest),
  speak: (rest) => speak("groupchat", rest),
  enter(rest) {
    const [room, nick] = rest.split(" ");
    return session.send(xml("presence", { to: `${room}/${nick}` }, xml("x", { xmlns: ROOMS })));
  },
  async block(jid) {
    await session.iqCaller.set(xml("block", { xmlns: BLOCKING }, xml("item", { jid })));
    print("blocked");
  },
  async leave() {
    await session.stop();
    process.exit(0);
  },
};
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [order, ...rest] = line.split(" ");
  orders[order](rest.join(" ")).catch((error) => print("error", `${error}`));
});
session.start().catch((error) => print("error", `${error}`));
