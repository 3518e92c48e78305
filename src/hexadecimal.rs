//! Octets as hexadecimal digits, two each, and back.

/// The digits of `octets`, in small letters.
#[must_use]
pub fn text(octets: &[u8]) -> String {
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
    let mut text = String::with_capacity(2 * octets.len());
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    text
}

/// The octets that `text` stands for, if it has as many digits as they need and nothing else.
#[must_use]
pub fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N)?;
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        *octet = pair.iter().fold(0, |octet, digit| octet << 4 | digit);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(text(&[0, 0xf, 0xab, 0xff]), "000fabff");
        assert_eq!(octets("000fABff"), Some([0, 0xf, 0xab, 0xff]));
        for wrong in ["000fabf", "000fabff0", "000fabfg", "000fab+f", "000fab\u{e9}"] {
            assert_eq!(octets::<4>(wrong), None, "{wrong}");
        }
        assert_eq!(octets(""), Some([]));
    }
}
