//! Until when a certificate is good.
//!
//! rustls takes a root certificate for a name and a key, and looks at none of its dates: a root whose term is over would be
//! trusted for ever. So its end is read here, and nothing else of it
//! ([RFC 5280, section 4.1](https://www.rfc-editor.org/rfc/rfc5280#section-4.1)).

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, left out by the oldest form.
const VERSION: u8 = 0xa0;

/// The last second of a certificate's term, counted from 1970; `None` where it is no certificate.
pub(super) fn end(certificate: &[u8]) -> Option<i64> {
    let mut signed = Der(certificate).inside(SEQUENCE)?.inside(SEQUENCE)?;
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    // The serial number, the algorithm, the issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        signed.inside(tag)?;
    }
    let mut validity = signed.inside(SEQUENCE)?;
    validity.next()?;
    let (tag, text) = validity.next()?;
    seconds(tag, text)
}

/// What is left to read of a DER text.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, with its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // No certificate needs more than four bytes for a length.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// What is inside the next value, if that has this tag.
    fn inside(&mut self, expected: u8) -> Option<Self> {
        let (tag, value) = self.next()?;
        (tag == expected).then_some(Self(value))
    }
}

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` from 2050 on.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year), rest)
        }
        _ => return None,
    };
    let (pairs, []) = rest.as_chunks::<2>() else { return None };
    let [month, day, hour, minute, second] = *pairs else { return None };
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|pair| number(&pair));
    let is_a_time = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    is_a_time.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01. The year is taken to begin in March, so that a leap day is its last one
/// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_time_is_read_in_both_of_its_forms() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "240822170850Z", Some(1_724_346_530)),
            (UTC_TIME, "000229235959Z", Some(951_868_799)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "21210524210619Z", Some(4_777_563_979)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "20500101000000Z", None),
            (GENERALIZED_TIME, "500101000000Z", None),
            (UTC_TIME, "241301000000Z", None),
            (UTC_TIME, "240132000000Z", None),
            (UTC_TIME, "240101240000Z", None),
            (UTC_TIME, "240101000000", None),
            (UTC_TIME, "2401010000Z", None),
            (UTC_TIME, "24010100000xZ", None),
            (UTC_TIME, "240101000000+0100", None),
            (UTC_TIME, "Z", None),
            (UTC_TIME, "", None),
            (SEQUENCE, "240101000000Z", None),
        ] {
            assert_eq!(seconds(tag, text.as_bytes()), expected, "{tag:x} {text}");
        }
    }

    #[test]
    fn a_certificates_end_is_found_and_nothing_cut_short_is_one() {
        let key = KeyPair::generate().unwrap();
        for (year, expected) in [(2021, 1_609_459_200), (2049, 2_493_072_000), (2120, 4_733_510_400)] {
            let mut parameters = CertificateParams::new(["db.example".to_owned()]).unwrap();
            parameters.not_after = date_time_ymd(year, 1, 1);
            let certificate = parameters.self_signed(&key).unwrap();
            let der = certificate.der();
            assert_eq!(end(der), Some(expected), "{year}");
            for length in 0..der.len() {
                assert_eq!(end(&der[..length]), None, "{length} bytes");
            }
        }
        for junk in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x85\0\0\0\0\0", b"\x30\x84\xff\xff\xff\xff", b"hunter2"] {
            assert_eq!(end(junk), None, "{junk:?}");
        }
    }
}
