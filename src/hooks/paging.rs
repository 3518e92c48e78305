//! Result Set Management (XEP-0059, version 1.0): a long list, page by page.

use crate::stanza::{Condition, StanzaError};
use crate::xml::Element;

/// Namespace of pages.
pub const NS: &str = "http://jabber.org/protocol/rsm";

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub max: Option<usize>,
    pub after: Option<String>,
    pub before: Option<Before>,
    /// Where it begins, for those who know no id (§2.6).
    pub index: Option<usize>,
}

/// Where a page ends that is asked for backwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    TheEnd,
    Id(String),
}

impl Page {
    /// The page that a request asks for, if it asks for one.
    ///
    /// # Errors
    /// `bad-request`: what should be a number is none.
    pub fn within(request: &Element) -> Result<Option<Self>, StanzaError> {
        request.child("set", NS).map(Self::read).transpose()
    }

    /// Reads a `<set/>`.
    ///
    /// # Errors
    /// `bad-request`: what should be a number is none.
    pub fn read(set: &Element) -> Result<Self, StanzaError> {
        let text = |name| set.child(name, NS).map(Element::text);
        let number = |name| match text(name) {
            None => Ok(None),
            Some(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Ok(Some(digits.parse().unwrap_or(usize::MAX)))
            }
            Some(_) => Err(StanzaError::new(Condition::BadRequest, format!("{name} has no valid value"))),
        };
        let before = text("before").map(|id| if id.is_empty() { Before::TheEnd } else { Before::Id(id) });
        let after = text("after").filter(|id| !id.is_empty());
        Ok(Self { max: number("max")?, after, before, index: number("index")? })
    }

    /// What is shown of a list to whoever asks for this page of it, or for no page: then it is all of it, as long as that is
    /// not more than `most` items. What the page is stands in the element; what is empty as a whole has no pages (§2.2).
    #[must_use]
    pub fn shown<T>(
        asked: Option<&Self>,
        all: Vec<T>,
        id: impl Fn(&T) -> &str,
        most: usize,
    ) -> (Vec<T>, Option<Element>) {
        if all.is_empty() || (asked.is_none() && all.len() <= most) {
            return (all, None);
        }
        let (page, set) = asked.unwrap_or(&Self::default()).cut(all, id, most);
        (page, Some(set))
    }

    /// Cuts the page out of a list and describes it, with at most `most` items. The list is in the order of its ids: so the
    /// next item is found though the one before it is gone (§2.4).
    fn cut<T>(&self, mut all: Vec<T>, id: impl Fn(&T) -> &str, most: usize) -> (Vec<T>, Element) {
        let count = all.len();
        let start = match &self.after {
            Some(after) => all.partition_point(|item| id(item) <= after.as_str()),
            None => self.index.unwrap_or(0).min(count),
        };
        let end = match &self.before {
            Some(Before::Id(before)) => all.partition_point(|item| id(item) < before.as_str()).max(start),
            Some(Before::TheEnd) | None => count,
        };
        let limit = self.max.unwrap_or(most).min(most).min(end - start);
        let start = if self.before.is_some() { end - limit } else { start };
        all.truncate(start + limit);
        let page = all.split_off(start);
        let mut set = Element::new("set", NS);
        if let (Some(first), Some(last)) = (page.first(), page.last()) {
            set.push(Element::new("first", NS).with("index", &start.to_string()).with_text(id(first)));
            set.push(Element::new("last", NS).with_text(id(last)));
        }
        set.push(Element::new("count", NS).with_text(&count.to_string()));
        (page, set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(inside: &str) -> Result<Page, Condition> {
        let set = Element::parse(&format!("<set xmlns='{NS}'>{inside}</set>"), "").unwrap();
        Page::read(&set).map_err(|error| error.condition)
    }

    // Proves: XEP-0059 §2
    #[test]
    fn what_is_asked_for() {
        assert_eq!(page("<max>10</max>").unwrap(), Page { max: Some(10), ..Page::default() });
        assert_eq!(page("<before/>").unwrap().before, Some(Before::TheEnd));
        assert_eq!(page("<before>x</before>").unwrap().before, Some(Before::Id("x".to_owned())));
        assert_eq!(page("<after>x</after><max>99999999999999999999999</max>").unwrap().max, Some(usize::MAX));
        assert_eq!(page("<index>3</index>").unwrap().index, Some(3));
        for number in ["-1", "", "+1", "1.5", "ten", " 1"] {
            assert_eq!(page(&format!("<max>{number}</max>")), Err(Condition::BadRequest), "{number}");
            assert_eq!(page(&format!("<index>{number}</index>")), Err(Condition::BadRequest), "{number}");
        }
        let request = Element::parse(&format!("<query xmlns='x'><set xmlns='{NS}'/></query>"), "").unwrap();
        assert_eq!(Page::within(&request), Ok(Some(Page::default())));
        assert_eq!(Page::within(&Element::new("query", "x")), Ok(None));
    }

    // Proves: XEP-0059 §2.1, §2.2, §2.3, §2.4, §2.5, §2.6, §2.7
    #[test]
    fn pages_of_a_list() {
        // What the page is asked for, what it holds, and the number of its first item.
        for (asked, items, index) in [
            ("", "abc", Some(0)),
            ("<max>2</max>", "ab", Some(0)),
            ("<max>9</max><after>b</after>", "cde", Some(2)),
            ("<max>2</max><after>b</after>", "cd", Some(2)),
            // Between two that are there: somebody else has gone meanwhile.
            ("<max>2</max><after>bb</after>", "cd", Some(2)),
            ("<after>e</after>", "", None),
            ("<before/>", "cde", Some(2)),
            ("<max>2</max><before/>", "de", Some(3)),
            ("<max>2</max><before>d</before>", "bc", Some(1)),
            ("<before>a</before>", "", None),
            ("<after>d</after><before>b</before>", "", None),
            ("<max>1</max><after>a</after><before>d</before>", "c", Some(2)),
            ("<max>2</max><index>3</index>", "de", Some(3)),
            ("<index>5</index>", "", None),
            ("<index>99999999999999999999</index>", "", None),
            ("<max>0</max>", "", None),
        ] {
            let (cut, set) = page(asked).unwrap().cut(vec!["a", "b", "c", "d", "e"], |item| item, 3);
            assert_eq!(cut.concat(), items, "{asked}");
            let ends = match (cut.first(), cut.last(), index) {
                (Some(first), Some(last), Some(index)) => {
                    format!("<first index='{index}'>{first}</first><last>{last}</last>")
                }
                _ => String::new(),
            };
            assert_eq!(set.to_xml(""), format!("<set xmlns='{NS}'>{ends}<count>5</count></set>"), "{asked}");
        }
        let (cut, set) = Page::default().cut(Vec::<String>::new(), String::as_str, 3);
        assert_eq!((cut.len(), set.to_xml("")), (0, format!("<set xmlns='{NS}'><count>0</count></set>")));
    }

    // Proves: XEP-0059 §2.2
    #[test]
    fn who_asks_for_no_page_gets_all_if_it_is_not_too_much() {
        let shown = |asked: Option<&Page>, all: &[&'static str]| {
            let (shown, set) = Page::shown(asked, all.to_vec(), |item| item, 2);
            (shown.concat(), set.is_some())
        };
        let page = Page::default();
        assert_eq!(shown(None, &["a", "b"]), ("ab".to_owned(), false));
        assert_eq!(shown(Some(&page), &["a", "b"]), ("ab".to_owned(), true));
        assert_eq!(shown(None, &["a", "b", "c"]), ("ab".to_owned(), true), "the rest has to be asked for");
        assert_eq!(shown(Some(&page), &[]), (String::new(), false));
    }
}
