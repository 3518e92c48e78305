//! The string classes of PRECIS (RFC 8264 §4), derived from the Unicode tables of ICU4X.
//!
//! The framework derives the class of a code point from its properties (RFC 8264 §8), so that
//! new versions of Unicode bring new letters and emoji without a table of our own. Code points
//! that these tables do not know are disallowed, as the framework says.
//!
//! Knows nothing of JIDs, nor of the mappings of a profile.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    CanonicalCombiningClass, ChangesWhenLowercased, DefaultIgnorableCodePoint, GeneralCategory, HangulSyllableType,
    JoiningType, NoncharacterCodePoint, Script,
};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed};

const CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::new();
const COMBINING_CLASS: CodePointMapDataBorrowed<'static, CanonicalCombiningClass> = CodePointMapData::new();
const HANGUL: CodePointMapDataBorrowed<'static, HangulSyllableType> = CodePointMapData::new();
const JOINING: CodePointMapDataBorrowed<'static, JoiningType> = CodePointMapData::new();
const SCRIPT: CodePointMapDataBorrowed<'static, Script> = CodePointMapData::new();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();
const NONCHARACTER: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<NoncharacterCodePoint>();
const NOT_LOWER: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<ChangesWhenLowercased>();

/// A string class (RFC 8264 §4.2 and §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StringClass {
    Identifier,
    Freeform,
}

/// The derived property of a code point (RFC 8264 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Derived {
    /// `PVALID`
    Valid,
    /// `ID_DIS` or `FREE_PVAL`
    FreeformValid,
    /// `CONTEXTJ` or `CONTEXTO`
    Contextual,
    Disallowed,
    Unassigned,
}

/// Whether a text, mapped already, consists of what the class allows.
///
/// A letter that still has a lower case here is one whose mapping the standard library, whose
/// tables may be older than those of ICU4X, does not know: no name may hold it, because the name
/// would change with the next compiler.
pub(super) fn allows(class: StringClass, text: &str) -> bool {
    let every = text.char_indices().all(|(at, c)| match derived(c) {
        Derived::Valid => class == StringClass::Freeform || c.is_ascii() || !NOT_LOWER.contains(c),
        Derived::FreeformValid => class == StringClass::Freeform,
        Derived::Contextual => context_allows(text, at, c),
        Derived::Disallowed | Derived::Unassigned => false,
    });
    every && middle_dots_allowed(text) && digits_allowed(text)
}

/// The algorithm of RFC 8264 §8. Its order matters.
pub(super) fn derived(c: char) -> Derived {
    if let Some(exception) = exception(c) {
        return exception;
    }
    let category = CATEGORY.get(c);
    let noncharacter = NONCHARACTER.contains(c);
    if category == GeneralCategory::Unassigned && !noncharacter {
        return Derived::Unassigned;
    }
    if ('\u{21}'..='\u{7E}').contains(&c) {
        return Derived::Valid;
    }
    if matches!(c, '\u{200C}' | '\u{200D}') {
        return Derived::Contextual;
    }
    let old_jamo = matches!(
        HANGUL.get(c),
        HangulSyllableType::LeadingJamo | HangulSyllableType::VowelJamo | HangulSyllableType::TrailingJamo
    );
    if old_jamo || noncharacter || IGNORABLE.contains(c) || category == GeneralCategory::Control {
        return Derived::Disallowed;
    }
    if has_compatibility_mapping(c) {
        return Derived::FreeformValid;
    }
    by_category(category)
}

/// RFC 8264 §9.1, §9.9, §9.18 and what lies between: letters and digits are for everybody,
/// other visible characters for free text, the rest for nobody.
const fn by_category(category: GeneralCategory) -> Derived {
    use GeneralCategory as Gc;
    match category {
        Gc::LowercaseLetter
        | Gc::UppercaseLetter
        | Gc::OtherLetter
        | Gc::DecimalNumber
        | Gc::ModifierLetter
        | Gc::NonspacingMark
        | Gc::SpacingMark => Derived::Valid,
        Gc::TitlecaseLetter
        | Gc::LetterNumber
        | Gc::OtherNumber
        | Gc::EnclosingMark
        | Gc::SpaceSeparator
        | Gc::MathSymbol
        | Gc::CurrencySymbol
        | Gc::ModifierSymbol
        | Gc::OtherSymbol
        | Gc::ConnectorPunctuation
        | Gc::DashPunctuation
        | Gc::OpenPunctuation
        | Gc::ClosePunctuation
        | Gc::InitialPunctuation
        | Gc::FinalPunctuation
        | Gc::OtherPunctuation => Derived::FreeformValid,
        _ => Derived::Disallowed,
    }
}

/// RFC 8264 §9.6, the table of RFC 5892 §2.6.
const fn exception(c: char) -> Option<Derived> {
    Some(match c {
        '\u{00DF}' | '\u{03C2}' | '\u{06FD}' | '\u{06FE}' | '\u{0F0B}' | '\u{3007}' => Derived::Valid,
        '\u{00B7}' | '\u{0375}' | '\u{05F3}' | '\u{05F4}' | '\u{30FB}' => Derived::Contextual,
        '\u{0660}'..='\u{0669}' | '\u{06F0}'..='\u{06F9}' => Derived::Contextual,
        '\u{0640}' | '\u{07FA}' | '\u{302E}' | '\u{302F}' | '\u{3031}'..='\u{3035}' | '\u{303B}' => Derived::Disallowed,
        _ => return None,
    })
}

/// RFC 8264 §9.17: compatibility normalization changes the code point.
fn has_compatibility_mapping(c: char) -> bool {
    !ComposingNormalizerBorrowed::new_nfkc().is_normalized(c.encode_utf8(&mut [0; 4]))
}

/// The contextual rules of RFC 5892, appendix A, that look at the neighbours. The others look at
/// the whole text and are asked once, after all characters.
fn context_allows(text: &str, at: usize, c: char) -> bool {
    let before = &text[..at];
    let after = &text[at + c.len_utf8()..];
    match c {
        '\u{200C}' => behind_virama(before) || joins_both_sides(before, after),
        '\u{200D}' => behind_virama(before),
        '\u{00B7}' => before.ends_with('l') && after.starts_with('l'),
        '\u{0375}' => after.chars().next().is_some_and(|next| SCRIPT.get(next) == Script::Greek),
        '\u{05F3}' | '\u{05F4}' => before.chars().next_back().is_some_and(|last| SCRIPT.get(last) == Script::Hebrew),
        _ => true,
    }
}

fn behind_virama(before: &str) -> bool {
    before.chars().next_back().is_some_and(|last| COMBINING_CLASS.get(last) == CanonicalCombiningClass::Virama)
}

/// RFC 5892 §A.1: the character before joins to its left, the one behind to its right, and only
/// transparent ones stand between.
fn joins_both_sides(before: &str, after: &str) -> bool {
    let visible = |joining: &JoiningType| *joining != JoiningType::Transparent;
    let left = before.chars().rev().map(|c| JOINING.get(c)).find(visible);
    let right = after.chars().map(|c| JOINING.get(c)).find(visible);
    matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// RFC 5892 §A.7: a katakana middle dot needs a Japanese character beside it, anywhere.
fn middle_dots_allowed(text: &str) -> bool {
    let japanese = |c| matches!(SCRIPT.get(c), Script::Hiragana | Script::Katakana | Script::Han);
    !text.contains('\u{30FB}') || text.contains(japanese)
}

/// RFC 5892 §A.8 and §A.9: the two rows of Arabic digits do not mix.
fn digits_allowed(text: &str) -> bool {
    !(text.contains(|c| ('\u{0660}'..='\u{0669}').contains(&c))
        && text.contains(|c| ('\u{06F0}'..='\u{06F9}').contains(&c)))
}
