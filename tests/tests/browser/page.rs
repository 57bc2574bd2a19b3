//! A page as headless Chromium shows it, at desktop and phone width, light and dark.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use linerate_tests::Directory;
use linerate_tests::binary::call;
use linerate_tests::process::{Kept, needs, piped};
use serde_json::Value;

/// What `look.py` saw. With `LINERATE_SCREENSHOTS=DIRECTORY` its pictures are kept there.
pub struct Page {
    seen: Value,
}

impl Page {
    /// Opens the page; `None` (and a line that says why) where there is no browser.
    pub fn look(test: &str, page: &Path) -> Option<Self> {
        if !needs(test, "python3") || !needs(test, "chromium") {
            return None;
        }
        // One browser at a time: each takes all the CPUs that it gets.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = Directory::new();
        let keep = std::env::var_os("LINERATE_SCREENSHOTS").map(PathBuf::from);
        let pictures = keep.as_deref().unwrap_or(directory.path());
        let name = page.file_stem().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/look.py");
        let mut command = piped("python3");
        command
            .args([script, "chromium"])
            .args([
                directory.path().join("profile"),
                page.to_owned(),
                pictures.join(name),
            ])
            .arg("90");
        // Longer than the script's own deadline, at which it ends the browser.
        let finished = Kept::start(&mut command).finish(Duration::from_secs(100));
        assert!(finished.status.success(), "{}", finished.stderr);
        Some(Page {
            seen: finished.json(),
        })
    }

    /// One per width and theme.
    pub fn views(&self) -> &[Value] {
        self.seen["views"].as_array().unwrap()
    }

    /// What holds for every page: it fits, it is readable, it asks nobody for anything.
    pub fn assert_sound(&self) {
        assert_eq!(
            self.seen["console"].as_array().unwrap().len(),
            0,
            "{}",
            self.seen["console"]
        );
        assert_eq!(self.views().len(), 4);
        for view in self.views() {
            let name = format!("{} {} {}", view["title"], view["width"], view["scheme"]);
            let number = |field: &str| view[field].as_f64().unwrap();
            assert_eq!(number("inner_width"), number("width"), "{name}");
            assert!(
                number("scroll_width") <= number("inner_width"),
                "{name} scrolls sideways"
            );
            assert_eq!(
                view["clipped"],
                serde_json::json!([]),
                "{name}: labels leave their plot"
            );
            for plot in view["plots"].as_array().unwrap() {
                let smallest = plot["smallest_text_px"].as_f64().unwrap();
                assert!(
                    smallest >= 10.0,
                    "{name}: {} has text of {smallest} px",
                    plot["title"]
                );
                assert_ne!(plot["description"], "", "{name}: {}", plot["title"]);
            }
        }
        let background = |scheme: &str| {
            let mut views = self.views().iter();
            views.find(|view| view["scheme"] == scheme).unwrap()["background"].clone()
        };
        assert_ne!(background("light"), background("dark"));
    }
}

/// Renders fixtures of the crate `report` with the binary.
pub fn report_fixture(names: &[&str], format: &str, output: &Path) {
    let files: Vec<String> = names.iter().map(|name| path_of(name)).collect();
    let output = output.display().to_string();
    let mut arguments = vec!["report", "--format", format, "--output", &output];
    arguments.extend(files.iter().map(String::as_str));
    let finished = call(&arguments);
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
}

/// A fixture of the crate `report`.
pub fn fixture(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path_of(name)).unwrap()).unwrap()
}

fn path_of(name: &str) -> String {
    format!(
        "{}/../report/tests/fixtures/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    )
}
