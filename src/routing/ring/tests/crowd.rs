//! Very many stanzas at once, which are written when the client reads them.

use super::*;

/// Presence of so many people, who are in a room.
fn crowd(count: usize) -> VecDeque<Arc<Stanza<'static>>> {
    let presence = |number: usize| {
        let from: Jid = format!("square@rooms.verona.example/{number}").parse().unwrap();
        let about = format!("<x xmlns='http://jabber.org/protocol/muc#user'>{}</x>", "x".repeat(300));
        Arc::new(Stanza::new(Kind::Presence(PresenceType::Available)).from(from).payload(Payload::canonical(about)))
    };
    (0..count).map(presence).collect()
}

/// The presence as `to` gets it.
fn written(crowd: &VecDeque<Arc<Stanza<'static>>>, to: &Jid) -> String {
    crowd.iter().fold(String::new(), |mut all, stanza| {
        stanza.write_to(&mut all, Some(to.as_str()));
        all
    })
}

#[test]
fn a_crowd_is_shown_to_whoever_reads_and_costs_little_until_then() {
    const LIMIT: usize = 700_000;
    let (to, crowd) = ("romeo@verona.example/orchard".parse().unwrap(), crowd(5000));
    let shown = written(&crowd, &to);
    assert!(shown.len() > 2 * LIMIT);
    let ring = ring(LIMIT);
    push(&ring, "<a/>");
    assert_eq!(ring.show(crowd.clone(), &to), Pushed::Joined);
    push(&ring, "<b/>");
    assert!(ring.lock().cost() < 50_000);
    let mut all = String::new();
    while let Some(piece) = take(&ring) {
        assert!(ring.lock().cost() < 80_000);
        ring.written(piece.len());
        all.push_str(&piece);
    }
    assert_eq!((all == format!("<a/>{shown}<b/>"), ring.lock().held()), (true, 0));
    ring.close(StreamCondition::Conflict.into());
    assert_eq!(take(&ring).as_deref(), Some("conflict"));
}

#[test]
fn a_crowd_is_shown_as_fast_as_it_is_confirmed() {
    const LIMIT: usize = 700_000;
    let (to, crowd) = ("romeo@verona.example/orchard".parse().unwrap(), crowd(5000));
    let shown = written(&crowd, &to);
    let handled = |all: &str| u32::try_from(all.matches("</presence>").count() + all.matches("<b/>").count()).unwrap();
    let ring = keeping(LIMIT, 0);
    ring.show(crowd, &to);
    push(&ring, "<b/>");
    let (mut all, mut rounds) = (String::new(), 0);
    loop {
        let before = all.len();
        while let Some(piece) = take(&ring) {
            all.push_str(&piece.replace(REQUEST, ""));
        }
        let more = all.len() - before;
        if more == 0 {
            break;
        }
        assert!(more < LIMIT / 2 + 40_000, "{more} are more than may be kept");
        rounds += 1;
        if rounds == 2 {
            // All that is lost with the connection, and comes again on the next one.
            all.truncate(before);
            ring.leave(Handled::default());
            ring.resume(handled(&all)).unwrap();
        } else {
            ring.confirm(handled(&all)).unwrap();
        }
    }
    assert!(all == format!("{shown}<b/>") && rounds > 4, "everything comes, in its order: {rounds}");
}

#[test]
fn a_crowd_that_was_not_shown_is_not_in_the_way_of_what_is_left() {
    let ring = keeping(700_000, 0);
    let to = "romeo@verona.example/orchard".parse().unwrap();
    push(&ring, "<a/>");
    ring.show(crowd(5000), &to);
    ring.push_entry(Mark::Undelivered(7), |out| out.push_str("<b/>"));
    let remains = ring.shut();
    assert_eq!(remains.text.iter().collect::<String>(), "<a/><b/>");
    assert_eq!(remains.marks, [(remains.start + remains.text.len() as u64, Mark::Undelivered(7))]);
}
