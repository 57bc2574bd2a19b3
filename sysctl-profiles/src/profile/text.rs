//! A profile as a TOML file says it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::model::{LimitName, LimitSetting, Operator, PublishedFile, Setting};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileText {
    pub name: Option<String>,
    pub summary: String,
    #[serde(default)]
    pub historical: bool,
    /// Names of bundled profiles, or paths relative to this file.
    #[serde(default)]
    pub include: Vec<String>,
    /// Of every setting that names none of its own.
    pub source: Option<String>,
    #[serde(default)]
    pub sysctl: BTreeMap<String, SettingText>,
    #[serde(default)]
    pub limits: LimitsText,
    #[serde(default)]
    pub documents: Vec<PublishedFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingText {
    value: ValueText,
    #[serde(default)]
    optional: bool,
    reason: String,
    source: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsText {
    nofile: Option<SettingText>,
    memlock: Option<SettingText>,
}

/// `1048576`, `"4096 131072 33554432"` or `">= 65535"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ValueText {
    Number(i64),
    Text(String),
}

impl ValueText {
    fn read(&self) -> (Operator, String) {
        let text = match self {
            ValueText::Number(number) => return (Operator::Equal, number.to_string()),
            ValueText::Text(text) => text.trim(),
        };
        let (operator, value) = match (text.strip_prefix(">="), text.strip_prefix('=')) {
            (Some(value), _) => (Operator::AtLeast, value),
            (None, Some(value)) => (Operator::Equal, value),
            (None, None) => (Operator::Equal, text),
        };
        (
            operator,
            value.split_whitespace().collect::<Vec<_>>().join(" "),
        )
    }
}

impl ProfileText {
    /// Its settings.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub(super) fn settings(&self) -> Result<Vec<Setting>, String> {
        let settings = self.sysctl.iter().map(|(key, text)| {
            let (operator, value) = text.value.read();
            Ok(Setting {
                key: key.clone(),
                operator,
                value,
                optional: text.optional,
                reason: reason(text, key)?,
                source: self.source_of(text, key)?,
            })
        });
        settings.collect()
    }

    /// Its limits.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub(super) fn limits(&self) -> Result<Vec<LimitSetting>, String> {
        let named = [
            (LimitName::Nofile, &self.limits.nofile),
            (LimitName::Memlock, &self.limits.memlock),
        ];
        let mut limits = Vec::new();
        for (name, text) in named {
            let Some(text) = text else { continue };
            let (_, value) = text.value.read();
            let amount = match value.as_str() {
                "unlimited" => None,
                number => Some(number.parse().map_err(|_| {
                    format!("{name}: `{number}` is neither a whole number nor `unlimited`")
                })?),
            };
            if text.optional {
                return Err(format!(
                    "{name}: a limit that is not granted is shown, and is an error only for a run that needs it; leave `optional` out"
                ));
            }
            limits.push(LimitSetting {
                name,
                amount,
                reason: reason(text, name.as_str())?,
                source: self.source_of(text, name.as_str())?,
            });
        }
        Ok(limits)
    }

    fn source_of(&self, text: &SettingText, key: &str) -> Result<String, String> {
        match text.source.as_ref().or(self.source.as_ref()) {
            Some(source) if !source.trim().is_empty() => Ok(source.clone()),
            _ => Err(format!(
                "{key} has no source: write `source = \"...\"` beside it, or once for the whole file"
            )),
        }
    }
}

fn reason(text: &SettingText, key: &str) -> Result<String, String> {
    match text.reason.trim() {
        "" => Err(format!(
            "{key} has no reason: write `reason = \"...\"` beside it"
        )),
        reason => Ok(reason.to_owned()),
    }
}
