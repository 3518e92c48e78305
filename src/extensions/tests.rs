//! Transcripts of what the extensions and the rules below them do on the wire.

use crate::testing::run;

#[tokio::test(start_paused = true)]
async fn ping_is_answered() {
    run("
romeo = romeo@montague.example/orchard
romeo> <iq type='get' id='1' to='montague.example'><ping xmlns='urn:xmpp:ping'/></iq>
romeo< <iq type='result' id='1' from='montague.example' to='romeo@montague.example/orchard'/>
romeo> <iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>
romeo< <iq type='result' id='2' from='romeo@montague.example' to='romeo@montague.example/orchard'/>
")
    .await;
}

#[tokio::test(start_paused = true)]
async fn subscription_and_presence_between_two_accounts() {
    run("
romeo = romeo@verona.example/orchard
juliet = juliet@verona.example/balcony
romeo> <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
romeo< <iq type='result' id='r' to='romeo@verona.example/orchard' from='*'><query xmlns='jabber:iq:roster' ver='*'/></iq>
juliet> <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
juliet< <iq type='result' id='r' to='*' from='*'><query xmlns='jabber:iq:roster' ver='*'/></iq>
romeo> <presence/>
romeo< <presence from='romeo@verona.example/orchard' to='romeo@verona.example'/>
juliet> <presence/>
juliet< <presence from='juliet@verona.example/balcony' to='juliet@verona.example'/>
romeo> <presence type='subscribe' to='juliet@verona.example' id='s'/>
romeo< <iq type='set' id='*' to='*'><query xmlns='jabber:iq:roster' ver='*'><item jid='juliet@verona.example' subscription='none' ask='subscribe'/></query></iq>
juliet< <presence type='subscribe' from='romeo@verona.example' to='juliet@verona.example' id='s'/>
juliet> <presence type='subscribed' to='romeo@verona.example'/>
juliet< <iq type='set' id='*' to='*'><query xmlns='jabber:iq:roster' ver='*'><item jid='romeo@verona.example' subscription='from'/></query></iq>
romeo< <presence type='subscribed' from='juliet@verona.example' to='romeo@verona.example'/>
romeo< <iq type='set' id='*' to='*'><query xmlns='jabber:iq:roster' ver='*'><item jid='juliet@verona.example' subscription='to'/></query></iq>
romeo< <presence from='juliet@verona.example/balcony' to='romeo@verona.example'/>
juliet vanishes
romeo< <presence type='unavailable' from='juliet@verona.example/balcony' to='romeo@verona.example'/>
")
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_who_is_offline() {
    run("
romeo = romeo@verona.example/orchard
juliet = juliet@verona.example/balcony
romeo> <message to='juliet@verona.example' type='chat' id='m1'><body>Art thou there?</body></message>
juliet< nothing
juliet> <presence/>
juliet< <message from='romeo@verona.example/orchard' to='juliet@verona.example' type='chat' id='m1'>
        <body>Art thou there?</body>
        <delay xmlns='urn:xmpp:delay' from='verona.example' stamp='2001-09-09T01:46:40.000Z'/></message>
juliet< <presence from='juliet@verona.example/balcony' to='juliet@verona.example'/>
romeo> <message to='juliet@verona.example' type='chat' id='m2'><body>Speak!</body></message>
juliet< <message from='romeo@verona.example/orchard' to='juliet@verona.example' type='chat' id='m2'><body>Speak!</body></message>
romeo> <message to='tybalt@verona.example' type='chat' id='m3'><body>?</body></message>
romeo< <message type='error' id='m3' from='tybalt@verona.example' to='romeo@verona.example/orchard'>
        <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
")
    .await;
}
