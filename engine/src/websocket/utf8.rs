//! UTF-8 that comes in parts, judged as early as can be: a byte after which nothing could make it right fails at once.

/// How far a text has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8 {
    /// The beginning of a character whose end has not come.
    held: [u8; 4],
    held_bytes: u8,
}

impl Utf8 {
    /// Takes the next bytes; false if the text cannot be UTF-8 any more.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        match self.complete_held(bytes) {
            Some(rest) => self.push_whole(rest),
            None => false,
        }
    }

    /// Whether it could end here: no character is begun.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.held_bytes == 0
    }

    /// What is left of `bytes` once the character that was begun is complete; `None` if it is none.
    #[inline]
    fn complete_held<'a>(&mut self, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        while self.held_bytes > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                break;
            };
            let count = usize::from(self.held_bytes);
            self.held[count] = byte;
            self.held_bytes += 1;
            bytes = rest;
            match std::str::from_utf8(&self.held[..=count]) {
                Ok(_) => self.held_bytes = 0,
                Err(error) if error.error_len().is_some() => return None,
                Err(_) => {}
            }
        }
        Some(bytes)
    }

    #[inline]
    fn push_whole(&mut self, bytes: &[u8]) -> bool {
        let Err(error) = simdutf8::compat::from_utf8(bytes) else {
            return true;
        };
        if error.error_len().is_some() {
            return false;
        }
        let begun = &bytes[error.valid_up_to()..];
        self.held[..begun.len()].copy_from_slice(begun);
        self.held_bytes = begun.len() as u8;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes are taken one by one before it fails; `None` if it does not.
    fn fails_at(bytes: &[u8]) -> Option<usize> {
        let mut text = Utf8::default();
        bytes
            .iter()
            .position(|byte| !text.push(std::slice::from_ref(byte)))
    }

    #[test]
    fn what_cannot_become_right_fails_at_once() {
        // Autobahn 6.4: a code point beyond U+10FFFF, told by its second byte.
        assert_eq!(fails_at(b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80"), Some(6));
        // Overlong forms, surrogates, bytes that never occur.
        assert_eq!(fails_at(b"\xc0\xaf"), Some(0));
        assert_eq!(fails_at(b"\xe0\x80\xaf"), Some(1));
        assert_eq!(fails_at(b"\xed\xa0\x80"), Some(1));
        assert_eq!(fails_at(b"a\xff"), Some(1));
        assert_eq!(fails_at("κόσμε \u{10ffff}".as_bytes()), None);
    }

    proptest! {
        #[test]
        fn parts_are_judged_as_the_whole(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..40),
                (any::<String>(), any::<u8>(), any::<usize>()).prop_map(|(text, byte, at)| {
                    let mut bytes = text.into_bytes();
                    let at = at.checked_rem(bytes.len() + 1).unwrap_or(0);
                    bytes.insert(at, byte);
                    bytes
                }),
            ],
            sizes in proptest::collection::vec(1_usize..9, 1..20),
        ) {
            let (mut text, mut rest, mut good) = (Utf8::default(), &bytes[..], true);
            for size in sizes.iter().cycle() {
                let (part, others) = rest.split_at((*size).min(rest.len()));
                good = good && text.push(part);
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(good && text.is_complete(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
