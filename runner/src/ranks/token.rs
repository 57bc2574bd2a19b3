//! What both ends know and a stranger does not: proven to each other, never sent.

use crate::error::Failure;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The environment variable that holds the token where no file does.
pub const TOKEN_VARIABLE: &str = "LINERATE_TOKEN";
/// Shorter ones can be tried one after the other by whoever has heard a proof; so can words.
const TOKEN_BYTES_MIN: usize = 16;
/// Longer ones are another file.
const TOKEN_BYTES_MAX: usize = 4096;
const MAKE_ONE: &str = "make one with `openssl rand -hex 16`";

/// The secret that a conductor shares with the ranks that may join it.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// Never shown.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A number that is used once.
pub(super) type Nonce = [u8; 16];
/// What only who knows the token can say to a nonce.
pub(super) type Proof = [u8; 32];

/// Who proves something: neither can pass on what the other has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prover {
    Conductor,
    Rank,
}

/// What a proof is of: this rank, between these two, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    pub rank: u32,
    pub process: Nonce,
    pub of_rank: Nonce,
    pub of_conductor: Nonce,
}

impl Token {
    /// The token in this file, or in the environment ([`TOKEN_VARIABLE`]); white space around it is no part of it.
    ///
    /// # Errors
    /// No token, one that cannot be read, or one that is too short or too long for one.
    pub fn read(file: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = file {
            let place = path.display().to_string();
            let mut text = Vec::new();
            File::open(path)
                .and_then(|file| file.take(2 * TOKEN_BYTES_MAX as u64).read_to_end(&mut text))
                .map_err(|error| {
                    Failure::usage(format!(
                        "read the token from {place}: {error}; name a file that both ends have, or {MAKE_ONE}"
                    ))
                })?;
            return Self::new(&text, &place);
        }
        match std::env::var_os(TOKEN_VARIABLE) {
            Some(text) => Self::new(text.as_encoded_bytes(), TOKEN_VARIABLE),
            None => Err(Failure::usage(format!(
                "ranks join with a token that a stranger lacks, and there is none: put the same one into \
                 {TOKEN_VARIABLE} or --token-file on both ends; {MAKE_ONE}"
            ))),
        }
    }

    /// The token in a text from `place`.
    pub(super) fn new(text: &[u8], place: &str) -> Result<Self, Failure> {
        let token = text.trim_ascii();
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(Failure::usage(format!(
                "the token in {place} has {} bytes, and one has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX}: {MAKE_ONE}",
                token.len()
            )));
        }
        Ok(Self(token.to_vec()))
    }

    /// What proves to the other end that `prover` knows the token: HMAC-SHA-256 (RFC 2104, FIPS 180-4).
    pub(super) fn proof(&self, prover: Prover, handshake: &Handshake) -> Proof {
        self.mac(prover, handshake).finalize().into_bytes().into()
    }

    /// Whether `prover` has proven it, told in a time that does not depend on where it differs.
    pub(super) fn is_proven(&self, prover: Prover, handshake: &Handshake, proof: &Proof) -> bool {
        self.mac(prover, handshake).verify_slice(proof).is_ok()
    }

    fn mac(&self, prover: Prover, handshake: &Handshake) -> Hmac<Sha256> {
        // A key of any length will do.
        let mut mac = match <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of every length"),
        };
        mac.update(match prover {
            Prover::Conductor => b"linerate ranks 1: conductor\0",
            Prover::Rank => b"linerate ranks 1: rank\0\0\0\0\0\0",
        });
        mac.update(&handshake.rank.to_le_bytes());
        mac.update(&handshake.process);
        mac.update(&handshake.of_rank);
        mac.update(&handshake.of_conductor);
        mac
    }
}

/// A number that nobody has used before and nobody can foresee.
pub(super) fn nonce() -> Result<Nonce, Failure> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce)
        .map_err(|error| Failure::machine(format!("ask the system for random bytes: {error}")))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::new(text.as_bytes(), "here").unwrap()
    }

    const HANDSHAKE: Handshake = Handshake {
        rank: 3,
        process: [4; 16],
        of_rank: [1; 16],
        of_conductor: [2; 16],
    };

    #[test]
    fn a_proof_is_of_one_token_one_prover_and_one_meeting() {
        let known = token("0123456789abcdef");
        let proof = known.proof(Prover::Rank, &HANDSHAKE);
        assert!(token("  0123456789abcdef\n").is_proven(Prover::Rank, &HANDSHAKE, &proof));
        assert!(!known.is_proven(Prover::Conductor, &HANDSHAKE, &proof));
        assert!(!token("0123456789abcdeF").is_proven(Prover::Rank, &HANDSHAKE, &proof));
        let others = [
            Handshake {
                rank: 4,
                ..HANDSHAKE
            },
            Handshake {
                process: [3; 16],
                ..HANDSHAKE
            },
            Handshake {
                of_rank: [3; 16],
                ..HANDSHAKE
            },
            Handshake {
                of_conductor: [3; 16],
                ..HANDSHAKE
            },
        ];
        for other in others {
            assert!(!known.is_proven(Prover::Rank, &other, &proof), "{other:?}");
        }
    }

    /// The construction itself, by another implementation (Python's hmac).
    #[test]
    fn a_proof_is_an_hmac() {
        let proof = token("0123456789abcdef").proof(Prover::Conductor, &HANDSHAKE);
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "bc93e758c7316e020b06768066d600f8ad04148aa515b4b052684ef81879d1fd"
        );
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        for text in ["", "short", "   0123456789abcd \n"] {
            let error = Token::new(text.as_bytes(), "/run/token").unwrap_err().text;
            assert!(
                error.contains("/run/token") && error.contains("16 to 4096"),
                "{error}"
            );
        }
        assert_eq!(format!("{:?}", token("0123456789abcdef")), "Token");
        let error = Token::read(Some(Path::new("/nowhere/token"))).unwrap_err();
        assert!(error.text.contains("/nowhere/token"), "{}", error.text);
    }
}
