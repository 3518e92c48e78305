//! The Bidi Rule (RFC 5893 §2), which keeps a name readable in one way only.

use icu_properties::props::BidiClass;
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed};

const CLASS: CodePointMapDataBorrowed<'static, BidiClass> = CodePointMapData::new();

/// Whether a text has no characters from right to left, or satisfies the rule.
///
/// The conditions 5 and 6 need no code: a name that begins from left to right may hold no
/// character of the other direction, so where the rule applies at all it fails.
pub(super) fn allows(text: &str) -> bool {
    let classes = || text.chars().map(|c| CLASS.get(c));
    if !classes().any(|class| is_strong_right_to_left(class) || class == BidiClass::ArabicNumber) {
        return true;
    }
    let starts = classes().next().is_some_and(is_strong_right_to_left);
    let consists = classes().all(stands_right_to_left);
    let ends = classes().rfind(|class| *class != BidiClass::NonspacingMark).is_some_and(ends_right_to_left);
    let mixes_digits = classes().any(|class| class == BidiClass::EuropeanNumber)
        && classes().any(|class| class == BidiClass::ArabicNumber);
    starts && consists && ends && !mixes_digits
}

/// Condition 1.
const fn is_strong_right_to_left(class: BidiClass) -> bool {
    matches!(class, BidiClass::RightToLeft | BidiClass::ArabicLetter)
}

/// Condition 2.
const fn stands_right_to_left(class: BidiClass) -> bool {
    is_strong_right_to_left(class)
        || matches!(
            class,
            BidiClass::ArabicNumber
                | BidiClass::EuropeanNumber
                | BidiClass::EuropeanSeparator
                | BidiClass::CommonSeparator
                | BidiClass::EuropeanTerminator
                | BidiClass::OtherNeutral
                | BidiClass::BoundaryNeutral
                | BidiClass::NonspacingMark
        )
}

/// Condition 3.
const fn ends_right_to_left(class: BidiClass) -> bool {
    is_strong_right_to_left(class) || matches!(class, BidiClass::EuropeanNumber | BidiClass::ArabicNumber)
}
