use std::fs;
use std::path::PathBuf;

use super::*;
use crate::catalogue::Kind;
use crate::error::ExitClass;

#[test]
fn every_bundled_profile_can_be_read() {
    for bundled in Profile::bundled() {
        let profile = bundled
            .load()
            .unwrap_or_else(|error| panic!("{}: {error}", bundled.name));
        assert_eq!(profile.name, bundled.name);
        assert_eq!(profile.origin, Origin::Bundled);
        assert!(!profile.summary.is_empty(), "{}", profile.name);
        assert_eq!(
            profile.historical,
            profile.name.contains("-20"),
            "{}",
            profile.name
        );
    }
}

#[test]
fn our_own_profiles_only_raise() {
    for name in ["10gbe", "many-connections", "low-latency"] {
        for setting in Profile::load(name).expect("bundled").settings {
            let kind = setting.info().expect("it is listed").kind;
            let ordered = matches!(kind, Kind::Amount(_) | Kind::PortRange);
            assert_eq!(
                setting.operator == Operator::AtLeast,
                ordered,
                "{name}: {}",
                setting.key
            );
        }
    }
}

/// The lines `key = value` of the sysctl.conf that a document shows.
fn published(profile: &Profile) -> Vec<(String, String)> {
    let conf = profile
        .documents
        .iter()
        .find(|file| file.path == "/etc/sysctl.conf")
        .expect("it is shown");
    let lines = conf.text.lines().filter(|line| !line.starts_with('#'));
    let mut settings: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            (key.trim().to_owned(), value)
        })
        .collect();
    settings.sort();
    settings
}

#[test]
fn historical_profiles_set_exactly_what_their_documents_say() {
    for (name, settings, nofile) in [("wsdemo-2012", 7, 999_999), ("crossbar-2013", 7, 1_048_576)] {
        let profile = Profile::load(name).expect("bundled");
        let mut set: Vec<(String, String)> = profile
            .settings
            .iter()
            .map(|setting| {
                assert_eq!(setting.operator, Operator::Equal, "{name}");
                (setting.key.clone(), setting.value.clone())
            })
            .collect();
        set.sort();
        assert_eq!(set.len(), settings, "{name}");
        assert_eq!(set, published(&profile), "{name}");
        assert_eq!(profile.limits.len(), 1, "{name}");
        assert_eq!(profile.limits[0].amount, Some(nofile), "{name}");
    }
    let crossbar = Profile::load("crossbar-2013").expect("bundled");
    let paths: Vec<&str> = crossbar
        .documents
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "/etc/sysctl.conf",
            "/etc/security/limits.conf",
            "/etc/pam.d/common-session",
            "/etc/pam.d/common-session-noninteractive"
        ]
    );
    assert!(
        crossbar.documents[0]
            .text
            .contains("#net.ipv4.tcp_low_latency = 1\n")
    );
    assert_eq!(crossbar.documents[1].text.matches(" 1048576\n").count(), 4);
    assert_eq!(
        crossbar.documents[2].text,
        "session required pam_limits.so\n"
    );
}

fn refused(text: &str) -> String {
    let error = from_text(text).expect_err("it is wrong");
    assert_eq!(error.exit_class(), ExitClass::Usage, "{error}");
    error.to_string()
}

fn with(lines: &str) -> String {
    format!("summary = \"x\"\nsource = \"y\"\n[sysctl]\n{lines}\n")
}

#[test]
fn a_wrong_profile_is_refused_with_the_reason() {
    for (text, part) in [
        (with("\"net.core.no_such\" = { value = 1, reason = \"r\" }"), "net.core.no_such"),
        (with("\"kernel.io_uring_disabled\" = { value = 0, reason = \"r\" }"), "never written"),
        (with("\"net.ipv4.tcp_fastopen_key\" = { value = 0, reason = \"r\" }"), "secret"),
        (with("\"net.core.somaxconn\" = { value = 1 }"), "reason"),
        (with("\"net.core.somaxconn\" = { value = 1, reason = \" \" }"), "has no reason"),
        (with("\"net.core.somaxconn\" = { value = 1, reason = \"r\", when = \"now\" }"), "when"),
        (with("\"net.core.somaxconn\" = { value = \"a\", reason = \"r\" }"), "whole number"),
        (with("\"net.core.somaxconn\" = { value = -1, reason = \"r\" }"), "outside"),
        (with("\"net.ipv4.tcp_tw_reuse\" = { value = \">= 1\", reason = \"r\" }"), "more is more"),
        (with("net.core.somaxconn = { value = 1, reason = \"r\" }"), "in quotes"),
        (
            with("\"net.core.somaxconn\" = { value = 1, reason = \"r\" }\n\"net/core/somaxconn\" = { value = 2, reason = \"r\" }"),
            "twice",
        ),
        ("summary = \"x\"\n[sysctl]\n\"net.core.somaxconn\" = { value = 1, reason = \"r\" }\n".to_owned(), "no source"),
        ("summary = \"x\"\nsysctls = 1\n".to_owned(), "sysctls"),
        ("name = \"x\"\n".to_owned(), "summary"),
        ("summary = \"x\"\nsource = \"y\"\n[limits]\nnproc = { value = 1, reason = \"r\" }\n".to_owned(), "nproc"),
        ("summary = \"x\"\nsource = \"y\"\n[limits]\nnofile = { value = \"many\", reason = \"r\" }\n".to_owned(), "many"),
        ("summary = \"x\"\ninclude = [\"no-such\"]\n".to_owned(), "no-such"),
        ("summary = \"x\"\nsource = ".to_owned(), "line 2: "),
    ] {
        let message = refused(&text);
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn values_may_have_an_operator() {
    let text = with(
        "\"net.core.somaxconn\" = { value = \">= 65535\", reason = \"r\" }\n\
         \"net.ipv4.tcp_rmem\" = { value = \"4096\\t131072   33554432\", reason = \"r\", source = \"own\" }\n\
         \"net.ipv4.tcp_tw_reuse\" = { value = \"= 1\", reason = \"r\", optional = true }",
    );
    let profile = from_text(&text).expect("a profile");
    let settings: Vec<(String, String, bool)> = profile
        .settings
        .iter()
        .map(|one| (one.key.clone(), one.requested(), one.optional))
        .collect();
    assert_eq!(
        settings,
        [
            (
                "net.core.somaxconn".to_owned(),
                ">= 65535".to_owned(),
                false
            ),
            (
                "net.ipv4.tcp_rmem".to_owned(),
                "= 4096 131072 33554432".to_owned(),
                false
            ),
            ("net.ipv4.tcp_tw_reuse".to_owned(), "= 1".to_owned(), true),
        ]
    );
    assert_eq!(profile.settings[1].source, "own");
}

#[test]
fn a_profile_survives_the_way_to_another_host_and_is_checked_there() {
    let profile = Profile::load("many-connections").expect("bundled");
    let json = serde_json::to_string(&profile).expect("plain data");
    let there: Profile = serde_json::from_str(&json).expect("it is checked");
    assert_eq!(there, profile);
    assert_eq!(there.hash(), profile.hash());
    let bad = json.replace("fs.nr_open", "kernel.modules_disabled");
    let error = serde_json::from_str::<Profile>(&bad).expect_err("a one-way key");
    assert!(error.to_string().contains("never written"), "{error}");
}

#[test]
fn the_hash_is_of_what_is_set() {
    let of = |value: &str, reason: &str| {
        let line =
            format!("\"net.core.somaxconn\" = {{ value = \"{value}\", reason = \"{reason}\" }}");
        from_text(&with(&line)).expect("a profile").hash()
    };
    assert_eq!(of("1", "a"), of("= 1", "b"));
    assert_ne!(of("1", "a"), of("2", "a"));
    assert_ne!(of("1", "a"), of(">= 1", "a"));
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("linerate-include-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a temporary file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn somaxconn(include: &str, value: &str) -> String {
    format!(
        "summary = \"x\"\nsource = \"y\"\n{include}\n[sysctl]\n\"net.core.somaxconn\" = {{ value = \"{value}\", reason = \"r\" }}\n"
    )
}

#[test]
fn includes_are_resolved_and_overridden() {
    let folder = Folder::new("override");
    folder.file("base.toml", &somaxconn("", "1000"));
    let path = folder.file(
        "mine.toml",
        &somaxconn(
            "include = [\"baseline\", \"./base.toml\", \"10gbe\"]",
            "2000",
        ),
    );
    let profile = Profile::load(&path).expect("a profile");
    assert_eq!(profile.name, "mine");
    let value = profile
        .settings
        .iter()
        .find(|one| one.key == "net.core.somaxconn")
        .expect("it is set");
    assert_eq!(value.value, "2000");
    assert!(
        profile
            .settings
            .iter()
            .any(|one| one.key == "net.ipv4.tcp_rmem"),
        "of 10gbe"
    );
    assert_eq!(profile.limits.len(), 1, "of 10gbe");
}

#[test]
fn includes_that_disagree_or_go_in_circles_are_refused() {
    let folder = Folder::new("refused");
    folder.file("a.toml", &somaxconn("", "1000"));
    folder.file("b.toml", &somaxconn("", "2000"));
    let both = "summary = \"x\"\ninclude = [\"./a.toml\", \"./b.toml\"]\n";
    let error = Profile::load(&folder.file("both.toml", both)).expect_err("they disagree");
    assert!(
        error
            .to_string()
            .contains("disagree about net.core.somaxconn"),
        "{error}"
    );
    folder.file(
        "there.toml",
        &somaxconn("include = [\"./circle.toml\"]", "1"),
    );
    let circle = folder.file(
        "circle.toml",
        &somaxconn("include = [\"./there.toml\"]", "1"),
    );
    let error = Profile::load(&circle).expect_err("a circle");
    assert!(error.to_string().contains("includes itself"), "{error}");
}

#[test]
fn what_is_in_a_file_that_is_no_profile_stays_there() {
    let folder = Folder::new("private");
    for (name, text) in [
        ("shadow", "root:$6$secret:19000:0:99999:7:::\n"),
        ("mapping", "sysctl = \"secret\"\nsummary = \"x\"\n"),
        ("list", "include = \"secret\"\nsummary = \"x\"\n"),
    ] {
        folder.file(name, text);
        let path = folder.file(
            &format!("{name}.toml"),
            &format!("summary = \"x\"\ninclude = [\"./{name}\"]\n"),
        );
        let error = Profile::load(&path).expect_err("no profile").to_string();
        assert!(error.contains(&format!("{name}: line 1: ")), "{error}");
        assert!(
            !error.contains("secret") && !error.contains("root"),
            "{error}"
        );
    }
    let endless = folder.file(
        "endless.toml",
        "summary = \"x\"\ninclude = [\"/dev/zero\"]\n",
    );
    let error = Profile::load(&endless)
        .expect_err("it has no end")
        .to_string();
    assert!(
        error.contains("/dev/zero") && error.contains("no regular file"),
        "{error}"
    );
}

#[test]
fn a_profile_that_is_not_there_says_what_is() {
    let error = Profile::load("10gb").expect_err("no such profile");
    assert_eq!(error.exit_class(), ExitClass::Usage);
    let text = error.to_string();
    assert!(
        text.contains("`10gb`") && text.contains("10gbe, many-connections"),
        "{text}"
    );
    let error = Profile::load("./no-such.toml").expect_err("no such file");
    assert!(error.to_string().contains("no-such.toml"), "{error}");
}
