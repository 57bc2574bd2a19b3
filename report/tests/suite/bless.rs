//! Expected files beside the tests. `LINERATE_BLESS=1 cargo test -p report` rewrites them, and a
//! person reads the difference.

use std::path::Path;

pub fn compare(path_in_crate: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path_in_crate);
    if std::env::var_os("LINERATE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "{path_in_crate} differs from what is rendered now.\n\
         If the change is meant: LINERATE_BLESS=1 cargo test -p report, and read the diff.\n\
         --- expected\n{expected}\n--- found\n{found}"
    );
}
