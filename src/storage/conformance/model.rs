//! Random changes, and a map in memory beside which every backend must look the same.

use std::collections::BTreeMap;

use super::*;

/// Random changes, compared with a model after each group.
pub(super) async fn it_behaves_like_a_map_in_memory(storage: Storage) {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % bound as u64).unwrap()
    };
    let owners: Vec<_> = (0..4).map(|number| jid(&format!("user{number}@verona.lit"))).collect();
    let mut notes: BTreeMap<(usize, String), String> = BTreeMap::new();
    let mut log: BTreeMap<(usize, Position), Entry> = BTreeMap::new();
    let mut positions = Vec::new();
    for owner in &owners {
        create(&storage, owner).await;
    }
    for round in 0..60 {
        let mut writes = Writes::new();
        for _ in 0..below(20) {
            let who = below(4);
            let (owner, key) = (&owners[who], format!("key{}", below(5)));
            let marks = [Marks::ARCHIVED, Marks::UNDELIVERED, Marks::ARCHIVED | Marks::UNDELIVERED][below(3)];
            let position = positions.get(below(positions.len() + 1)).copied();
            match (below(8), position) {
                (0 | 1, _) => {
                    NOTES.put(&mut writes, owner, &key, &round.to_string()).unwrap();
                    notes.insert((who, key), round.to_string());
                }
                (2, _) => {
                    NOTES.delete(&mut writes, owner, &key);
                    notes.remove(&(who, key));
                }
                (3, _) if below(4) == 0 => {
                    NOTES.clear(&mut writes, owner);
                    notes.retain(|(other, _), _| *other != who);
                }
                (4, Some(position)) => {
                    writes.mark(owner, position, marks);
                    log.entry((who, position)).and_modify(|entry| entry.marks = entry.marks | marks);
                }
                (5, Some(position)) => {
                    writes.unmark(owner, position, marks);
                    if let Some(entry) = log.get_mut(&(who, position)) {
                        entry.marks = entry.marks.without(marks);
                        if entry.marks.is_empty() {
                            log.remove(&(who, position));
                        }
                    }
                }
                (6, Some(position)) if below(3) == 0 => {
                    writes.remove(owner, position);
                    log.remove(&(who, position));
                }
                (7, Some(position)) if below(3) == 0 => {
                    writes.replace(owner, position, key.as_str().into());
                    log.entry((who, position)).and_modify(|entry| entry.payload = key.into());
                }
                _ => {
                    let entry = entry(&key, marks);
                    let position = writes.append(owner, storage.slot(), entry.clone());
                    positions.push(position);
                    log.insert((who, position), entry);
                }
            }
        }
        storage.durable(storage.submit(writes)).await.unwrap();
        compare(&storage, &owners, &notes, &log).await;
    }
}

async fn compare(
    storage: &Storage,
    owners: &[BareJid],
    notes: &BTreeMap<(usize, String), String>,
    log: &BTreeMap<(usize, Position), Entry>,
) {
    for (who, owner) in owners.iter().enumerate() {
        let expected: Vec<_> = notes
            .iter()
            .filter(|((other, _), _)| *other == who)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(NOTES.all(storage, owner).await.unwrap(), expected);
        let mut expected: Vec<_> = log
            .iter()
            .filter(|((other, _), _)| *other == who)
            .map(|((_, position), entry)| Stored { position: *position, entry: entry.clone() })
            .collect();
        assert_eq!(everything(storage, owner).await, expected);
        expected.retain(|stored| stored.entry.marks.contains(Marks::UNDELIVERED));
        assert_eq!(undelivered(storage, owner).await, expected);
    }
}
