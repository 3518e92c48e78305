// Cases with @xmpp/client over TCP: node cases.mjs SETTINGS RESULTS.
// SETTINGS is a JSON file {domain, accounts: [{username, password}, ...], trusted}, RESULTS a file that gets one JSON object a line.
import fs from "node:fs";
import { once } from "node:events";
import { client, xml } from "@xmpp/client";

const [settingsFile, resultsFile] = process.argv.slice(2);
const settings = JSON.parse(fs.readFileSync(settingsFile, "utf8"));
const PATIENCE = 20_000;
const SERVICES = {
  starttls: `xmpp://${settings.domain}:5222`,
  "direct-tls": `xmpps://${settings.domain}:5223`,
};

/** Rejects after a while, so that a case that waits for what never comes fails. */
function inTime(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The first stanza that passes the test. */
function stanza(session, what, test) {
  return inTime(
    new Promise((resolve) => {
      const look = (element) => {
        if (test(element)) {
          session.off("stanza", look);
          resolve(element);
        }
      };
      session.on("stanza", look);
    }),
    what,
  );
}

/** A session of one account that is online and available. */
async function online(service, account) {
  const session = client({ service, domain: settings.domain, ...account });
  let trouble;
  session.on("error", (error) => (trouble = error));
  const address = await inTime(session.start(), "the session").catch((error) => {
    session.stop().catch(() => {});
    throw trouble ?? error;
  });
  const shown = stanza(session, "own presence", (element) => element.is("presence") && element.attrs.from === `${address}`);
  await session.send(xml("presence"));
  await shown;
  return { session, address };
}

/** One chat message with its text, as the receiver got it. */
async function deliver(from, to, text) {
  const received = stanza(to.session, `"${text}"`, (element) => element.getChildText("body") === text);
  await from.session.send(xml("message", { type: "chat", to: `${to.address}` }, xml("body", {}, text)));
  const { attrs } = await received;
  if (attrs.from !== `${from.address}`) {
    throw new Error(`the message came from ${attrs.from}, not from ${from.address}`);
  }
}

/** Both accounts log in and write to each other; the server answers a request. */
async function conversation(service) {
  const [alice, bob] = await Promise.all(settings.accounts.slice(0, 2).map((account) => online(service, account)));
  try {
    await deliver(alice, bob, "Grüße & <Küsse> 👋🏽");
    await deliver(bob, alice, "Re: Grüße");
    const info = await alice.session.iqCaller.get(
      xml("query", { xmlns: "http://jabber.org/protocol/disco#info" }),
      settings.domain,
    );
    if (!info.getChildren("identity").some(({ attrs }) => attrs.category === "server")) {
      throw new Error(`the server does not say that it is one: ${info}`);
    }
  } finally {
    await Promise.all([alice, bob].map(({ session }) => session.stop()));
  }
}

/** A connection is cut; the session goes on, and what was sent meanwhile arrives (XEP-0198). */
async function resumption(service) {
  const [alice, bob] = await Promise.all(settings.accounts.slice(0, 2).map((account) => online(service, account)));
  try {
    const resumed = inTime(once(alice.session.streamManagement, "resumed"), "the resumption");
    const received = stanza(alice.session, "the message", (element) => element.getChildText("body") === "while away");
    (alice.session.socket.socket ?? alice.session.socket).destroy();
    await bob.session.send(xml("message", { type: "chat", to: `${alice.address}` }, xml("body", {}, "while away")));
    await resumed;
    await received;
  } finally {
    await Promise.all([alice, bob].map(({ session }) => session.stop()));
  }
}

/** The second login is one request: a token, a resource and stream management (XEP-0388, XEP-0386, XEP-0484). */
async function token(service) {
  const { session } = await online(service, settings.accounts[0]);
  try {
    await session.stop();
    const asked = [];
    session.on("send", (element) => element.is("authenticate") && asked.push(element.attrs.mechanism));
    await inTime(session.start(), "the second session");
    if (asked.join() !== "HT-SHA-256-NONE" || !session.streamManagement.enabled) {
      throw new Error(`it logged in by ${asked.join(", then ") || "the older profile"}`);
    }
  } finally {
    await session.stop();
  }
}

/** A certificate of an authority that nobody told Node about must end the attempt. */
async function refusal(service) {
  const { session } = await online(service, settings.accounts[0]).catch((error) => {
    if (/certificate|issuer/i.test(error.message)) return {};
    throw error;
  });
  if (session) {
    await session.stop();
    throw new Error("it logged in although nothing vouches for the certificate");
  }
}

const cases = settings.trusted ? { conversation, resumption, token } : { refusal };
for (const [transport, service] of Object.entries(SERVICES)) {
  for (const [name, play] of Object.entries(cases)) {
    const result = { case: `${transport}.${name}`, detail: "" };
    await play(service).catch((error) => (result.detail = `${error}` || "failed"));
    fs.appendFileSync(resultsFile, `${JSON.stringify(result)}\n`);
  }
}
process.exit(0);
