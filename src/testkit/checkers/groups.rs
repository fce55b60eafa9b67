//! What was promised in groups: paper, books and line held against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Books, Chain, Diary, Place, Stay, Tap};
use crate::client::Trouble;
use crate::types::{ChatName, GroupName, UserName};

/// Texts that are sent, and those who were in the group from then on and have not seen them.
pub fn missing(diary: &Diary, books: &Books) -> Vec<String> {
    let seen = diary.seen();
    let mut missing = Vec::new();
    for (text, from, group) in texts(diary) {
        if !diary.sent.contains(text) {
            continue;
        }
        let Some(seq) = place_of(diary, books, text, from, group) else {
            missing.push(format!("I1: sent, and not in the log of {group}: {text:?}"));
            continue;
        };
        let stays = books.groups.get(group).map(Chain::stays).unwrap_or_default();
        let still_in = stays.iter().filter(|(reader, stays)| {
            *reader != from && stays.last().is_some_and(|s| s.until.is_none() && s.holds(seq))
        });
        for (reader, _) in still_in.filter(|(reader, _)| !seen.contains(&(reader, text))) {
            missing.push(format!("I1: sent at {seq} of {group}, {reader} never saw it: {text:?}"));
        }
    }
    missing
}

/// What did not hold in groups. What paper alone tells ([`Diary::violations`]) is not repeated.
pub fn violations(diary: &Diary, books: &Books, tap: &Tap) -> Vec<String> {
    let mut found = missing(diary, books);
    let stays: BTreeMap<&GroupName, BTreeMap<UserName, Vec<Stay>>> =
        books.groups.iter().map(|(group, chain)| (group, chain.stays())).collect();
    for (group, chain) in &books.groups {
        found.extend(chain.violations().into_iter().map(|what| format!("{group}: {what}")));
    }
    let stays_of = |group: &GroupName, user: &UserName| {
        stays.get(group).and_then(|all| all.get(user)).map_or(&[][..], Vec::as_slice)
    };
    let mut last: BTreeMap<(&UserName, &GroupName), u64> = BTreeMap::new();
    for (reader, group, author, device, n, text) in first_seen(diary) {
        let place = Place::of(group, author, device, n);
        let Some(&seq) = books.places.get(&place) else {
            found.push(format!("{reader} saw {text:?} of {group}, which its log does not have"));
            continue;
        };
        if !stays_of(group, reader).iter().any(|stay| stay.holds(seq)) {
            found.push(format!("I8: {reader} saw {text:?}, {seq} of {group}, and was not in it"));
        }
        if !stays_of(group, author).iter().any(|stay| stay.holds(seq)) {
            found.push(format!("{author} wrote {text:?}, {seq} of {group}, and was not in it"));
        }
        let before = last.entry((reader, group)).or_default();
        if seq <= *before {
            found.push(format!("{reader} saw {seq} of {group} after {before}: {text:?}"));
        }
        *before = (*before).max(seq);
    }
    for (reader, chat, trouble) in &diary.troubles {
        let ChatName::Group(group) = chat else { continue };
        let was_out = stays_of(group, reader).iter().any(|stay| stay.until.is_some());
        if *trouble == Trouble::Expired && !was_out {
            found.push(format!("{reader} was in {group} all the time, and something expired"));
        }
    }
    found.extend(disagreements(diary));
    for (reader, group, seqs) in tap.all() {
        let stays = stays_of(&group, &reader);
        let within = |seq: u64| {
            stays.iter().any(|s| s.since <= seq && s.until.is_none_or(|until| seq <= until))
        };
        for seq in seqs.into_iter().filter(|seq| !within(*seq)) {
            found.push(format!("I8: {seq} of {group} was sent to {reader}, who was not in it"));
        }
    }
    found
}

/// Any two readers of a group saw what both saw in the same order.
fn disagreements(diary: &Diary) -> Vec<String> {
    let mut saw: BTreeMap<&GroupName, BTreeMap<&UserName, Vec<&str>>> = BTreeMap::new();
    for (reader, group, .., text) in first_seen(diary) {
        saw.entry(group).or_default().entry(reader).or_default().push(text);
    }
    let mut found = Vec::new();
    for (group, readers) in &saw {
        for (one, texts) in readers {
            let order: BTreeMap<&str, usize> =
                texts.iter().enumerate().map(|(index, text)| (*text, index)).collect();
            for (other, theirs) in readers.iter().skip_while(|(other, _)| *other <= one) {
                let common: Vec<(&str, usize)> =
                    theirs.iter().filter_map(|text| Some((*text, *order.get(text)?))).collect();
                let parted = common.windows(2).find_map(|pair| match pair {
                    [(first, a), (second, b)] if a > b => Some((first, second)),
                    _ => None,
                });
                if let Some((first, second)) = parted {
                    found.push(format!(
                        "{other} saw {first:?} before {second:?} in {group}, {one} after it"
                    ));
                }
            }
        }
    }
    found
}

fn texts(diary: &Diary) -> impl Iterator<Item = (&str, &UserName, &GroupName)> {
    diary.written.iter().filter_map(|(text, (from, to))| match to {
        ChatName::Group(group) => Some((text.as_str(), from, group)),
        ChatName::Person(_) => None,
    })
}

fn place_of(
    diary: &Diary,
    books: &Books,
    text: &str,
    from: &UserName,
    group: &GroupName,
) -> Option<u64> {
    let (device, n) = *diary.numbers.get(text)?;
    books.places.get(&Place::of(group, from, device, n)).copied()
}

type Seen<'a> = (&'a UserName, &'a GroupName, &'a UserName, u64, u64, &'a str);

/// What was shown in groups for the first time: reader, group, author, device, n, text.
fn first_seen(diary: &Diary) -> Vec<Seen<'_>> {
    let mut seen = BTreeSet::new();
    let shown = diary.shown.iter().filter_map(|shown| match &shown.chat {
        ChatName::Group(group) if seen.insert((&shown.reader, shown.text.as_str())) => {
            Some((&shown.reader, group, &shown.author, shown.device, shown.n, shown.text.as_str()))
        }
        ChatName::Group(_) | ChatName::Person(_) => None,
    });
    shown.collect()
}
