//! The tables of RFC 6121 appendix A as text, row by row, against the machine.

use super::*;

/// The names of appendix A.1 in its order.
const STATES: [(&str, Half, Half); 9] = [
    ("None", Half::None, Half::None),
    ("None + Pending Out", Half::Pending, Half::None),
    ("None + Pending In", Half::None, Half::Pending),
    ("None + Pending Out+In", Half::Pending, Half::Pending),
    ("To", Half::Subscribed, Half::None),
    ("To + Pending In", Half::Subscribed, Half::Pending),
    ("From", Half::None, Half::Subscribed),
    ("From + Pending Out", Half::Pending, Half::Subscribed),
    ("Both", Half::Subscribed, Half::Subscribed),
];

/// How `ask` and `subscription` reflect each state (appendix A.1).
const SHOWN: &str = "
    None | none |
    None + Pending Out | none | ask
    None + Pending In | none |
    None + Pending Out+In | none | ask
    To | to |
    To + Pending In | to |
    From | from |
    From + Pending Out | from | ask
    Both | both |
";

/// Table 2.
const OUT_SUBSCRIBE: &str = "
    None | MUST | None + Pending Out
    None + Pending Out | MUST | no state change
    None + Pending In | MUST | None + Pending Out+In
    None + Pending Out+In | MUST | no state change
    To | MUST | no state change
    To + Pending In | MUST | no state change
    From | MUST | From + Pending Out
    From + Pending Out | MUST | no state change
    Both | MUST | no state change
";

/// Table 3.
const OUT_UNSUBSCRIBE: &str = "
    None | MUST | no state change
    None + Pending Out | MUST | None
    None + Pending In | MUST | no state change
    None + Pending Out+In | MUST | None + Pending In
    To | MUST | None
    To + Pending In | MUST | None + Pending In
    From | MUST | no state change
    From + Pending Out | MUST | From
    Both | MUST | From
";

/// Table 4; the third column after the state names the availability of §3.1.5.
const OUT_SUBSCRIBED: &str = "
    None | M.N. | pre-approval
    None + Pending Out | M.N. | pre-approval
    None + Pending In | MUST | From | available
    None + Pending Out+In | MUST | From + Pending Out | available
    To | M.N. | pre-approval
    To + Pending In | MUST | Both | available
    From | M.N. | no state change
    From + Pending Out | M.N. | no state change
    Both | M.N. | no state change
";

/// Table 5, with the availability of §3.2.2.
const OUT_UNSUBSCRIBED: &str = "
    None | S.N. | no state change
    None + Pending Out | S.N. | no state change
    None + Pending In | MUST | None
    None + Pending Out+In | MUST | None + Pending Out
    To | S.N. | no state change
    To + Pending In | MUST | To
    From | MUST | None | unavailable
    From + Pending Out | MUST | None + Pending Out | unavailable
    Both | MUST | To | unavailable
";

/// Table 6, with the auto-reply of its note 2.
const IN_SUBSCRIBE: &str = "
    None | MUST | None + Pending In
    None + Pending Out | MUST | None + Pending Out+In
    None + Pending In | S.N. | no state change
    None + Pending Out+In | S.N. | no state change
    To | MUST | To + Pending In
    To + Pending In | S.N. | no state change
    From | S.N. | no state change | available | subscribed
    From + Pending Out | S.N. | no state change | available | subscribed
    Both | S.N. | no state change | available | subscribed
";

/// Table 6 where the contact is approved already (its note 1, §3.4.2).
const IN_SUBSCRIBE_APPROVED: &str = "
    None | S.N. | From | available | subscribed
    None + Pending Out | S.N. | From + Pending Out | available | subscribed
    To | S.N. | Both | available | subscribed
";

/// Table 7, with the auto-reply of its note 1 and the availability of §3.3.3.
const IN_UNSUBSCRIBE: &str = "
    None | S.N. | no state change
    None + Pending Out | S.N. | no state change
    None + Pending In | MUST | None | | unsubscribed
    None + Pending Out+In | MUST | None + Pending Out | | unsubscribed
    To | S.N. | no state change
    To + Pending In | MUST | To | | unsubscribed
    From | MUST | None | unavailable | unsubscribed
    From + Pending Out | MUST | None + Pending Out | unavailable | unsubscribed
    Both | MUST | To | unavailable | unsubscribed
";

/// Table 8.
const IN_SUBSCRIBED: &str = "
    None | S.N. | no state change
    None + Pending Out | MUST | To
    None + Pending In | S.N. | no state change
    None + Pending Out+In | MUST | To + Pending In
    To | S.N. | no state change
    To + Pending In | S.N. | no state change
    From | S.N. | no state change
    From + Pending Out | MUST | Both
    Both | S.N. | no state change
";

/// Table 9.
const IN_UNSUBSCRIBED: &str = "
    None | S.N. | no state change
    None + Pending Out | MUST | None
    None + Pending In | S.N. | no state change
    None + Pending Out+In | MUST | None + Pending In
    To | MUST | None
    To + Pending In | MUST | None + Pending In
    From | S.N. | no state change
    From + Pending Out | MUST | From
    Both | MUST | From
";

fn state(name: &str) -> State {
    let &(_, to, from) = STATES.iter().find(|(known, ..)| *known == name).unwrap();
    State { to, from, approved: false }
}

fn rows(table: &'static str) -> Vec<Vec<&'static str>> {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    rows
}

/// Whether what `SHOWN` prints, or the approval, differs.
fn shows_change(before: State, after: State) -> bool {
    let shown = |state: State| {
        let name = STATES.iter().find(|&&(_, to, from)| (to, from) == (state.to, state.from)).unwrap().0;
        let row = rows(SHOWN).into_iter().find(|row| row[0] == name).unwrap();
        (row[1], row[2], state.approved)
    };
    shown(before) != shown(after)
}

fn check(
    table: &'static str,
    machine: fn(State, SubscriptionType) -> Transition,
    kind: SubscriptionType,
    approved: bool,
) {
    for row in rows(table) {
        let before = State { approved, ..state(row[0]) };
        let transition = machine(before, kind);
        let expected = match row[2] {
            "no state change" => before,
            "pre-approval" => State { approved: true, ..before },
            name => state(name),
        };
        assert_eq!(transition.state, expected, "{kind:?} {row:?}");
        assert_eq!(transition.forward, row[1] == "MUST", "{kind:?} {row:?}");
        assert_eq!(transition.push, shows_change(before, expected), "{kind:?} {row:?}");
        let share = match row.get(3).copied().unwrap_or_default() {
            "available" => Some(Share::Available),
            "unavailable" => Some(Share::Unavailable),
            _ => None,
        };
        assert_eq!(transition.share, share, "{kind:?} {row:?}");
        let reply = row.get(4).and_then(|name| PresenceType::parse(name));
        assert_eq!(transition.reply, reply, "{kind:?} {row:?}");
    }
}

fn all_nine(table: &'static str) {
    let names: Vec<&str> = rows(table).into_iter().map(|row| row[0]).collect();
    assert_eq!(names, STATES.map(|(name, ..)| name));
}

// Proves: RFC 6121 §3.2.2, §3.4.2, §A.2, §A.2.1, §A.2.2, §A.2.3, §A.2.4
#[test]
fn outbound_stanzas_follow_tables_2_to_5() {
    for (kind, table) in [
        (SubscriptionType::Subscribe, OUT_SUBSCRIBE),
        (SubscriptionType::Unsubscribe, OUT_UNSUBSCRIBE),
        (SubscriptionType::Subscribed, OUT_SUBSCRIBED),
        (SubscriptionType::Unsubscribed, OUT_UNSUBSCRIBED),
    ] {
        all_nine(table);
        check(table, outbound, kind, false);
    }
}

// Proves: RFC 6121 §3.1.3, §3.1.6, §3.2.3, §3.3.3, §A.3, §A.3.1, §A.3.2, §A.3.3, §A.3.4
#[test]
fn inbound_stanzas_follow_tables_6_to_9() {
    for (kind, table) in [
        (SubscriptionType::Subscribe, IN_SUBSCRIBE),
        (SubscriptionType::Unsubscribe, IN_UNSUBSCRIBE),
        (SubscriptionType::Subscribed, IN_SUBSCRIBED),
        (SubscriptionType::Unsubscribed, IN_UNSUBSCRIBED),
    ] {
        all_nine(table);
        check(table, inbound, kind, false);
    }
}

// Proves: RFC 6121 §A.1
#[test]
fn the_roster_reflects_every_state() {
    all_nine(SHOWN);
    for row in rows(SHOWN) {
        let state = state(row[0]);
        assert_eq!(state.subscription().as_str(), row[1], "{row:?}");
        assert_eq!(state.ask(), row[2] == "ask", "{row:?}");
        assert_eq!(state.pending_in(), row[0].ends_with("In"), "{row:?}");
    }
}

// Proves: RFC 6121 §3.4.2
#[test]
fn a_pre_approval_answers_the_next_request_and_is_used_up() {
    check(IN_SUBSCRIBE_APPROVED, inbound, SubscriptionType::Subscribe, true);
    for row in rows(IN_SUBSCRIBE_APPROVED) {
        let approved = outbound(state(row[0]), SubscriptionType::Subscribed);
        assert!(approved.push && !approved.forward, "{row:?}");
        let again = outbound(approved.state, SubscriptionType::Subscribed);
        assert_eq!((again.state, again.push), (approved.state, false), "{row:?}");
    }
}

// Proves: RFC 6121 §3.2.2
#[test]
fn unsubscribed_takes_a_pre_approval_back_without_being_routed() {
    for name in ["None", "None + Pending Out", "To"] {
        let transition = outbound(State { approved: true, ..state(name) }, SubscriptionType::Unsubscribed);
        assert_eq!(transition.state, state(name));
        assert!(transition.push && !transition.forward && transition.share.is_none());
    }
}

#[test]
fn a_pre_approval_survives_what_does_not_concern_it() {
    for name in ["None", "None + Pending Out", "To"] {
        let before = State { approved: true, ..state(name) };
        for kind in [SubscriptionType::Subscribe, SubscriptionType::Unsubscribe] {
            assert!(outbound(before, kind).state.approved, "{name} {kind:?}");
        }
        for kind in [SubscriptionType::Unsubscribe, SubscriptionType::Subscribed, SubscriptionType::Unsubscribed] {
            assert!(inbound(before, kind).state.approved, "{name} {kind:?}");
        }
    }
}

#[test]
fn an_approved_request_that_is_pending_all_the_same_is_answered() {
    let before = State { approved: true, ..state("None + Pending In") };
    let transition = inbound(before, SubscriptionType::Subscribe);
    assert_eq!((transition.state, transition.reply), (state("From"), Some(PresenceType::Subscribed)));
}

// Proves: RFC 6121 §2.5.2
#[test]
fn removal_ends_both_halves() {
    for (name, unsubscribe, unsubscribed, share) in [
        ("None", false, false, None),
        ("None + Pending Out", true, false, None),
        ("None + Pending In", false, true, None),
        ("None + Pending Out+In", true, true, None),
        ("To", true, false, None),
        ("To + Pending In", true, true, None),
        ("From", false, true, Some(Share::Unavailable)),
        ("From + Pending Out", true, true, Some(Share::Unavailable)),
        ("Both", true, true, Some(Share::Unavailable)),
    ] {
        assert_eq!(state(name).remove(), Removal { unsubscribe, unsubscribed, share }, "{name}");
    }
}

#[test]
fn two_accounts_reach_both_and_part_again() {
    let (mut romeo, mut juliet) = (State::default(), State::default());
    let send = |kind, romeo: &mut State, juliet: &mut State| {
        let sent = outbound(*romeo, kind);
        *romeo = sent.state;
        let received = inbound(*juliet, kind);
        assert!(sent.forward && received.forward, "{kind:?}");
        *juliet = received.state;
    };
    send(SubscriptionType::Subscribe, &mut romeo, &mut juliet);
    send(SubscriptionType::Subscribed, &mut juliet, &mut romeo);
    send(SubscriptionType::Subscribe, &mut juliet, &mut romeo);
    send(SubscriptionType::Subscribed, &mut romeo, &mut juliet);
    assert_eq!((romeo, juliet), (state("Both"), state("Both")));
    send(SubscriptionType::Unsubscribe, &mut romeo, &mut juliet);
    assert_eq!((romeo, juliet), (state("From"), state("To")));
    send(SubscriptionType::Unsubscribed, &mut romeo, &mut juliet);
    assert_eq!((romeo, juliet), (State::default(), State::default()));
}

#[test]
fn only_four_presence_types_manage_subscriptions() {
    let managing: Vec<PresenceType> =
        PresenceType::ALL.iter().copied().filter(|kind| SubscriptionType::of(*kind).is_some()).collect();
    assert_eq!(managing.len(), SubscriptionType::ALL.len());
    for kind in SubscriptionType::ALL {
        assert_eq!(SubscriptionType::of(kind.presence_type()), Some(*kind));
    }
    for text in ["none", "to", "from", "both"] {
        assert_eq!(Subscription::parse(text).map(Subscription::as_str), Some(text));
    }
    assert_eq!(Subscription::parse("remove"), None);
}
