//! The table of docs/archive.md, row by row: what is archived, and what waits for who is offline.

#![expect(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod tree;

use std::collections::BTreeSet;

use comity::testing::{Client, Options, World};

const DOMAIN: &str = "verona.example";

/// One row.
struct Row {
    what: String,
    message: String,
    archived: bool,
    waits: bool,
    comes_back: bool,
}

fn rows() -> Vec<Row> {
    let documents = tree::files(&tree::root().join("docs"), "archive.md");
    let document = documents.iter().find(|file| file.path == "archive.md").expect("docs/archive.md");
    let rows = document.text.lines().filter(|line| line.contains("`<message"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, message, archived, waits] = cells[..] else { panic!("four columns: {line}") };
        let yes = |cell: &str| match cell.split(',').next() {
            Some("yes") => true,
            Some("no") => false,
            _ => panic!("yes or no: {line}"),
        };
        Row {
            what: what.to_owned(),
            message: message.trim_matches('`').to_owned(),
            archived: yes(archived),
            waits: yes(waits),
            comes_back: waits.ends_with("it comes back"),
        }
    })
    .collect()
}

/// The ids of the messages that have come, or are in the results that have, and of those that came back.
async fn come(world: &World, client: &mut Client) -> (BTreeSet<usize>, BTreeSet<usize>) {
    world.settle().await;
    let (mut come, mut back) = (BTreeSet::new(), BTreeSet::new());
    while let Some(element) = client.received() {
        let forwarded = element.elements().find(|child| child.name() == "result").and_then(|result| {
            result.elements().flat_map(|forwarded| forwarded.elements()).find(|child| child.name() == "message")
        });
        let message = forwarded.unwrap_or(&element);
        let (id, kind) = (message.attribute("id").and_then(|id| id.parse().ok()), message.attribute("type"));
        if let Some(id) = id.filter(|_| message.name() == "message") {
            if kind == Some("error") && message.elements().any(|child| child.name() == "error") {
                back.insert(id);
            } else {
                assert!(come.insert(id), "message {id} twice");
            }
        }
    }
    (come, back)
}

async fn archived(world: &World, client: &mut Client) -> BTreeSet<usize> {
    let query =
        "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>250</max></set></query>";
    client.send(&format!("<iq type='set' id='archive'>{query}</iq>")).await;
    come(world, client).await.0
}

// Proves: XEP-0160 §3, XEP-0313 §6.1.1, XEP-0334 §4.1, §4.2, §4.4, XEP-0424 §5
#[tokio::test(start_paused = true)]
async fn the_table_is_true() {
    let rows = rows();
    assert!(rows.len() > 25, "the table has {} rows", rows.len());
    let mut world = World::new();
    world.server_with(DOMAIN, &Options { config: "[archive]\nenabled = true\n".into() }).expect("a server");
    let (orchard, balcony) = ("romeo@verona.example/orchard", "juliet@verona.example/balcony");
    world.account(&"juliet@verona.example".parse().expect("an address")).await.expect("an account");
    let mut romeo = world.login(&orchard.parse().expect("an address")).await.expect("a login");
    for (number, row) in rows.iter().enumerate() {
        let start = format!("<message to='juliet@verona.example' id='{number}'");
        romeo.send(&row.message.replacen("<message", &start, 1)).await;
    }
    let (_, back) = come(&world, &mut romeo).await;
    let of_romeo = archived(&world, &mut romeo).await;
    let mut juliet = world.login(&balcony.parse().expect("an address")).await.expect("a login");
    let of_juliet = archived(&world, &mut juliet).await;
    juliet.send("<presence/>").await;
    let (waited, _) = come(&world, &mut juliet).await;
    for (number, Row { what, archived, waits, comes_back, .. }) in rows.iter().enumerate() {
        assert_eq!(of_romeo.contains(&number), *archived, "{what}: in the archive of the sender");
        // What came back is not in hers.
        assert_eq!(of_juliet.contains(&number), *archived && !comes_back, "{what}: in the archive of the recipient");
        assert_eq!(waited.contains(&number), *waits, "{what}: waits");
        assert_eq!(back.contains(&number), *comes_back, "{what}: comes back");
    }
}
