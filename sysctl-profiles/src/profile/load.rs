//! From a name or a path to a checked profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::bundled::{self, BundledProfile};
use super::model::{LimitName, LimitSetting, Operator, Origin, Profile, Setting, Unchecked};
use super::text::ProfileText;
use crate::catalogue::{self, Kind};
use crate::error::Error;
use crate::given;
use crate::value;

/// How deep includes may go.
const INCLUDE_DEPTH: usize = 8;

impl BundledProfile {
    /// Reads it.
    ///
    /// # Errors
    /// Never, as its tests prove.
    pub fn load(&self) -> Result<Profile, Error> {
        Profile::load(self.name)
    }
}

impl Profile {
    /// Reads a profile: a bundled one by its name, or a file. What has a `/` or ends in `.toml` is a file.
    ///
    /// # Errors
    /// No such profile; a file that cannot be read or is no profile; a key that is unknown or never
    /// written; a value that its key cannot have.
    pub fn load(name_or_path: &str) -> Result<Self, Error> {
        Loader { open: Vec::new() }.load(name_or_path, Path::new("."))
    }
    /// Every profile of this binary, by name.
    #[must_use]
    pub fn bundled() -> &'static [BundledProfile] {
        bundled::PROFILES
    }
}

impl TryFrom<Unchecked> for Profile {
    type Error = Error;

    fn try_from(raw: Unchecked) -> Result<Self, Error> {
        let Unchecked {
            name,
            summary,
            historical,
            origin,
            settings,
            limits,
            documents,
        } = raw;
        let settings = check_settings(settings, &name)?;
        Ok(Profile {
            name,
            summary,
            historical,
            origin,
            settings,
            limits,
            documents,
        })
    }
}

/// What is set, by key, while includes are resolved.
#[derive(Default)]
struct Gathered {
    settings: BTreeMap<String, Setting>,
    limits: BTreeMap<LimitName, LimitSetting>,
}

struct Loader {
    /// The files and names that are being read, the outermost first.
    open: Vec<String>,
}

impl Loader {
    fn load(&mut self, name_or_path: &str, relative_to: &Path) -> Result<Profile, Error> {
        self.read(find(name_or_path, relative_to)?)
    }

    fn read(&mut self, found: Found) -> Result<Profile, Error> {
        let Found {
            label,
            name,
            text,
            folder,
            origin,
        } = found;
        if self.open.contains(&label) || self.open.len() >= INCLUDE_DEPTH {
            return Err(Error::InvalidProfile {
                profile: label.clone(),
                why: format!(
                    "it includes itself, or more than {INCLUDE_DEPTH} profiles deep: {}",
                    self.open.join(" -> ")
                ),
            });
        }
        let invalid = |why: String| Error::InvalidProfile {
            profile: label.clone(),
            why,
        };
        let parsed: ProfileText =
            toml::from_str(&text).map_err(|error| invalid(explain(&text, &error)))?;
        self.open.push(label.clone());
        let mut gathered = self.includes(&parsed, &folder)?;
        self.open.pop();
        let own = check_settings(parsed.settings().map_err(invalid)?, &label)?;
        let own = own
            .into_iter()
            .map(|setting| (setting.key.clone(), setting));
        gathered.settings.extend(own);
        let limits = parsed.limits().map_err(invalid)?;
        gathered
            .limits
            .extend(limits.into_iter().map(|limit| (limit.name, limit)));
        Ok(Profile {
            settings: in_order(gathered.settings.into_values().collect())?,
            limits: gathered.limits.into_values().collect(),
            name: parsed.name.unwrap_or(name),
            summary: parsed.summary,
            historical: parsed.historical,
            origin,
            documents: parsed.documents,
        })
    }

    /// What the included profiles set. Where two of them disagree, the including file must decide.
    fn includes(&mut self, parsed: &ProfileText, folder: &Path) -> Result<Gathered, Error> {
        let mut gathered = Gathered::default();
        for name in &parsed.include {
            let included = self.load(name, folder)?;
            for setting in included.settings {
                let other = gathered
                    .settings
                    .insert(setting.key.clone(), setting.clone());
                let decided = parsed.sysctl.keys().any(|key| is_key(key, &setting.key));
                if let Some(other) = other.filter(|other| other.requested() != setting.requested())
                    && !decided
                {
                    return Err(Error::InvalidProfile {
                        profile: self.open.last().cloned().unwrap_or_default(),
                        why: format!(
                            "its includes disagree about {}: `{}` and `{}`; set it in this file",
                            setting.key,
                            other.requested(),
                            setting.requested()
                        ),
                    });
                }
            }
            for limit in included.limits {
                gathered.limits.insert(limit.name, limit);
            }
        }
        Ok(gathered)
    }
}

fn is_key(written: &str, canonical: &str) -> bool {
    catalogue::find(written).is_ok_and(|(_, key)| key == canonical)
}

/// The text of a profile and where it was.
struct Found {
    /// How errors name it.
    label: String,
    /// What it is called if it does not say so itself.
    name: String,
    text: String,
    /// What its includes are relative to.
    folder: PathBuf,
    origin: Origin,
}

fn find(name_or_path: &str, relative_to: &Path) -> Result<Found, Error> {
    if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
        return find_file(&relative_to.join(name_or_path));
    }
    let all = bundled::PROFILES;
    let bundled = all.iter().find(|bundled| bundled.name == name_or_path);
    let bundled = bundled.ok_or_else(|| Error::UnknownProfile {
        name: name_or_path.to_owned(),
        known: all
            .iter()
            .map(|bundled| bundled.name)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    Ok(Found {
        label: bundled.name.to_owned(),
        name: bundled.name.to_owned(),
        text: bundled.text.to_owned(),
        folder: relative_to.to_owned(),
        origin: Origin::Bundled,
    })
}

fn find_file(path: &Path) -> Result<Found, Error> {
    let unreadable = |source| Error::ReadProfile {
        path: path.to_owned(),
        source,
    };
    // Two spellings of one path are one file, so that no include goes in circles.
    let path = path.canonicalize().map_err(unreadable)?;
    let label = path.display().to_string();
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Found {
        name,
        text: given::read(&path, given::TEXT_LIMIT_BYTES).map_err(unreadable)?,
        folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
        origin: Origin::File(label.clone()),
        label,
    })
}

/// Reads a profile that is in no file.
#[cfg(test)]
pub(crate) fn from_text(text: &str) -> Result<Profile, Error> {
    Loader { open: Vec::new() }.read(Found {
        label: "a text".to_owned(),
        name: "text".to_owned(),
        text: text.to_owned(),
        folder: PathBuf::from("."),
        origin: Origin::Bundled,
    })
}

/// An unquoted key is a table in a table to TOML, and its message does not say so.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let text = given::toml_error(text, error);
    let hint = match text.contains("expected one of `value`") {
        true => {
            "; a key is written in quotes: \"net.core.somaxconn\" = { value = \">= 65535\", reason = \"...\" }"
        }
        false => "",
    };
    text + hint
}

/// Looks at every key and value, and writes the keys in the catalogue's spelling.
fn check_settings(settings: Vec<Setting>, profile: &str) -> Result<Vec<Setting>, Error> {
    let mut checked: Vec<Setting> = Vec::with_capacity(settings.len());
    for mut setting in settings {
        let (info, key) = catalogue::find(&setting.key)
            .map_err(|refusal| Error::refused_key(&setting.key, profile, &refusal))?;
        let bad = |why: String| Error::InvalidValue {
            profile: profile.to_owned(),
            key: key.clone(),
            value: setting.requested(),
            why,
        };
        value::check(info, &setting.value).map_err(bad)?;
        let ordered = matches!(info.kind, Kind::Amount(_) | Kind::PortRange);
        if setting.operator == Operator::AtLeast && !ordered {
            return Err(bad(
                "`>=` needs numbers of which more is more; use `=`".to_owned()
            ));
        }
        if checked.iter().any(|other| other.key == key) {
            return Err(bad(
                "the profile sets it twice, under two spellings".to_owned()
            ));
        }
        setting.key = key;
        checked.push(setting);
    }
    in_order(checked)
}

/// In the order of writing: ceilings before what they bound.
fn in_order(mut settings: Vec<Setting>) -> Result<Vec<Setting>, Error> {
    let mut ranks = BTreeMap::new();
    for setting in &settings {
        ranks.insert(setting.key.clone(), setting.info()?.rank());
    }
    settings.sort_by_key(|setting| (ranks.get(&setting.key).copied(), setting.key.clone()));
    Ok(settings)
}
