//! Close frames (RFC 6455 sections 5.5.1 and 7.4).

use super::Violation;

/// The purpose was fulfilled.
pub const NORMAL: u16 = 1000;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Data that are not what their type says.
pub const INVALID_DATA: u16 = 1007;
/// A message that is too big to be taken.
pub const TOO_BIG: u16 = 1009;

/// Whether a status code may stand in a close frame: those of section 7.4.1 that are not reserved, those registered
/// with IANA since (1012 to 1014), and those of libraries and applications (3000 to 4999).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What the payload of a close frame says: its code and reason; `None` if it is empty.
///
/// # Errors
/// A payload of one byte, a code that may not be sent, a reason that is not UTF-8.
pub fn parse(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload.is_empty() {
            true => Ok(None),
            false => Err(Violation::protocol("a close frame with half a status code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Violation::protocol(
            "a close frame with a status code that may not be sent",
        ));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok(Some((code, reason))),
        Err(_) => Err(Violation::NOT_UTF8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc_and_of_its_registry() {
        for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(parse(&u16::to_be_bytes(code)), Ok(Some((code, ""))));
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            let refused = parse(&u16::to_be_bytes(code)).unwrap_err();
            assert_eq!(refused.code, PROTOCOL_ERROR, "{code}");
        }
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03").unwrap_err().code, PROTOCOL_ERROR);
        assert_eq!(parse(b"\x03\xe8bye"), Ok(Some((NORMAL, "bye"))));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(Violation::NOT_UTF8));
    }
}
