//! `--engines uring,uring:send=zc,buffers=64,epoll`: which commas part engines and which options.

/// The engines of the lists, in order.
///
/// A part of the form `key=value`, with no colon before its `=`, is another option of the engine
/// before it; every other part begins an engine. No name of an engine contains `=`, so that a list
/// can be read in one way only.
///
/// # Errors
/// An empty part, or an option before any engine.
pub fn engines(lists: &[String]) -> Result<Vec<String>, String> {
    let mut engines: Vec<String> = Vec::new();
    for list in lists {
        let first = engines.len();
        for part in list.split(',') {
            if part.is_empty() {
                return Err(format!(
                    "engine list '{list}': a name is missing; write for example uring,epoll"
                ));
            }
            if !continues(part) {
                engines.push(part.to_owned());
                continue;
            }
            let before = engines[first..].last_mut().ok_or_else(|| {
                format!("engine list '{list}': '{part}' is an option without an engine before it; write NAME:{part}")
            })?;
            before.push(if before.contains(':') { ',' } else { ':' });
            before.push_str(part);
        }
    }
    Ok(engines)
}

fn continues(part: &str) -> bool {
    part.split_once('=')
        .is_some_and(|(key, _)| !key.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::engines;

    fn of(lists: &[&str]) -> Result<Vec<String>, String> {
        engines(
            &lists
                .iter()
                .map(|&list| list.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn commas_part_engines_and_options() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["uring,epoll"], &["uring", "epoll"]),
            (
                &["uring", "epoll,blocking"],
                &["uring", "epoll", "blocking"],
            ),
            (
                &["uring:send=zc,buffers=64,epoll"],
                &["uring:send=zc,buffers=64", "epoll"],
            ),
            (
                &["uring,uring:a=1,b=2", "uring:a=2"],
                &["uring", "uring:a=1,b=2", "uring:a=2"],
            ),
            // The first option may come behind a comma too.
            (&["epoll,spin=5us,uring"], &["epoll:spin=5us", "uring"]),
            // A value may contain a colon.
            (&["uring:a=x:y,b=c:d"], &["uring:a=x:y,b=c:d"]),
            (
                &["monoio-legacy,tokio-uring"],
                &["monoio-legacy", "tokio-uring"],
            ),
        ];
        for (lists, expected) in cases {
            assert_eq!(of(lists).unwrap(), *expected, "{lists:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_how_to_write_it() {
        assert!(of(&["uring,,epoll"]).unwrap_err().contains("missing"));
        assert!(of(&[""]).unwrap_err().contains("missing"));
        let error = of(&["uring", "send=zc"]).unwrap_err();
        assert!(error.contains("NAME:send=zc"), "{error}");
    }
}
