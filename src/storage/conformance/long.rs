//! A long archive: what was exchanged with one of many, in any part of it, as entries come late and go.

use super::*;

/// More than are indexed at once, so that nearly all of them are in groups.
const ENTRIES: usize = 6000;

pub(super) async fn what_was_exchanged_with_somebody_is_found(storage: Storage) {
    let romeo = jid("romeo@verona.lit");
    create(&storage, &romeo).await;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % bound as u64).unwrap()
    };
    // Some talk much, some hardly ever.
    let mut known: Vec<(Position, usize, bool)> = Vec::new();
    for first in (0..ENTRIES).step_by(500) {
        let mut writes = Writes::new();
        for number in first..first + 500 {
            let most = below(40);
            let peer = below(1 + most);
            let marks = if below(10) == 0 { Marks::UNDELIVERED } else { Marks::ARCHIVED };
            let entry = Entry { peer: name(peer).into(), time: number as u64, ..entry("x", marks) };
            let position = writes.append(&romeo, storage.slot(), entry);
            known.push((position, peer, marks == Marks::ARCHIVED));
        }
        storage.durable(storage.submit(writes)).await.unwrap();
    }
    for round in 0..3 {
        for peer in [0, 1, 7, 20, 39, 40] {
            look(&storage, &romeo, &known, peer, &mut below).await;
        }
        // Some are archived late, some go, the last of their groups among them; then the oldest, with what was noted.
        let mut writes = Writes::new();
        for (at, (position, _, archived)) in known.iter_mut().enumerate() {
            let goes = below(8) == 0 || (round == 1 && at < ENTRIES / 3);
            if *archived && goes {
                writes.unmark(&romeo, *position, Marks::ARCHIVED);
                *archived = false;
            } else if !*archived && !goes && below(2) == 0 {
                // It is there still if it waits.
                writes.mark(&romeo, *position, Marks::ARCHIVED);
                let (romeo, position) = (romeo.clone(), *position);
                let waits = storage.read(move |view| {
                    let after = Position::new(position.number() - 1);
                    let page = view.undelivered(&romeo, Some(after), 1)?;
                    Ok(page.entries.first().is_some_and(|it| it.position == position))
                });
                *archived = waits.await.unwrap();
            }
        }
        writes.trim(&romeo);
        storage.durable(storage.submit(writes)).await.unwrap();
    }
}

fn name(peer: usize) -> String {
    format!("peer{peer}@mantua.lit/{}", peer % 3)
}

/// Compares what is found of one peer with what is known, in some part of the archive.
async fn look(
    storage: &Storage,
    owner: &BareJid,
    known: &[(Position, usize, bool)],
    peer: usize,
    below: &mut impl FnMut(usize) -> usize,
) {
    let wanted = Some(format!("peer{peer}@mantua.lit").parse().unwrap());
    for part in 0..6 {
        let (one, other) = (below(ENTRIES), below(ENTRIES));
        let (first, last) = (one.min(other), one.max(other));
        let (after, before) = (Some(known[first].0), Some(known[last].0));
        let range = match part {
            0 => Range { peer: wanted.clone(), ..Range::default() },
            1 => Range { peer: wanted.clone(), after, ..Range::default() },
            2 => Range { peer: wanted.clone(), before, ..Range::default() },
            3 => Range { peer: wanted.clone(), after, before, ..Range::default() },
            4 => {
                Range { peer: wanted.clone(), since: Some(first as u64), until: Some(last as u64), ..Range::default() }
            }
            _ => Range { since: Some(first as u64), until: Some(last as u64), ..Range::default() },
        };
        let is_in = |(at, (position, with, archived)): &(usize, &(Position, usize, bool))| {
            let at = *at as u64;
            *archived
                && (range.peer.is_none() || *with == peer)
                && range.after.is_none_or(|after| *position > after)
                && range.before.is_none_or(|before| *position < before)
                && range.since.is_none_or(|since| at >= since)
                && range.until.is_none_or(|until| at <= until)
        };
        let expected: Vec<_> = known.iter().enumerate().filter(is_in).map(|(_, (position, ..))| *position).collect();
        for limit in [3, ENTRIES] {
            let upto = limit.min(expected.len());
            let oldest = archived(storage, owner, &range, End::Oldest, limit).await;
            assert_eq!(oldest, (expected[..upto].to_vec(), upto < expected.len()), "{range:?}");
            let youngest = archived(storage, owner, &range, End::Youngest, limit).await;
            assert_eq!(youngest, (expected[expected.len() - upto..].to_vec(), upto < expected.len()), "{range:?}");
        }
    }
}
