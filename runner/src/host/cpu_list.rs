//! CPU lists as the kernel writes them: `0-3,8` (cpuset(7), "List format").

use std::collections::BTreeSet;

/// Linux is built for at most 8192 CPUs (CONFIG_NR_CPUS); a larger number is a mistake, and `0-4294967295`
/// would otherwise fill the memory.
const CPU_LIMIT: u32 = 8192;

/// Why a text is not a CPU list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a CPU list: {why}; write it like 0-3,8")]
pub struct CpuListError {
    /// The whole text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// Parses `0-3,8`, also with a stride as in `0-7:2/4` (two of every four). Empty text is the empty set.
///
/// # Errors
/// [`CpuListError`] when a part is no number or range, a range runs backwards, or a number is above 8191.
pub fn parse_cpu_list(text: &str) -> Result<BTreeSet<u32>, CpuListError> {
    let mut cpus = BTreeSet::new();
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(cpus);
    }
    for part in trimmed.split(',') {
        insert_part(part.trim(), &mut cpus).map_err(|why| CpuListError {
            text: trimmed.to_owned(),
            why,
        })?;
    }
    Ok(cpus)
}

/// Writes a set as a CPU list, the inverse of [`parse_cpu_list`].
#[must_use]
pub fn format_cpu_list(cpus: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let parts: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    parts.join(",")
}

fn insert_part(part: &str, cpus: &mut BTreeSet<u32>) -> Result<(), String> {
    let (range, stride) = match part.split_once(':') {
        Some((range, stride)) => (range, Some(parse_stride(stride)?)),
        None => (part, None),
    };
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    if last < first {
        return Err(format!("`{range}` runs backwards"));
    }
    let (used, group) = stride.unwrap_or((1, 1));
    cpus.extend((first..=last).filter(|cpu| (cpu - first) % group < used));
    Ok(())
}

fn parse_stride(text: &str) -> Result<(u32, u32), String> {
    let (used, group) = text
        .split_once('/')
        .ok_or_else(|| format!("`{text}` is not used/group"))?;
    let (used, group) = (number(used)?, number(group)?);
    if used == 0 || used > group {
        return Err(format!("`{text}` takes {used} of every {group}"));
    }
    Ok((used, group))
}

fn number(text: &str) -> Result<u32, String> {
    // parse() alone would accept "+1".
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` is not a CPU number"));
    }
    match text.parse() {
        Ok(cpu) if cpu < CPU_LIMIT => Ok(cpu),
        _ => Err(format!(
            "`{text}` is above the highest CPU number, {}",
            CPU_LIMIT - 1
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<u32> {
        parse_cpu_list(text)
            .expect("a CPU list")
            .into_iter()
            .collect()
    }

    #[test]
    fn lists_of_numbers_and_ranges() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list("5"), [5]);
        assert_eq!(list(""), [0; 0]);
        assert_eq!(list("\n"), [0; 0]);
        assert_eq!(list("8,0-1,1"), [0, 1, 8]);
        assert_eq!(list("0-7:2/4"), [0, 1, 4, 5]);
    }

    #[test]
    fn mistakes_are_named() {
        for text in [
            "a",
            "1-",
            "-1",
            "3-1",
            "0,,1",
            "+1",
            "8192",
            "0-4294967295",
            "0-99999999999",
            "0-7:0/4",
            "0-7:2",
        ] {
            let error = parse_cpu_list(text).expect_err(text);
            assert!(error.to_string().contains("write it like 0-3,8"), "{error}");
        }
    }

    #[test]
    fn format_is_the_inverse_of_parse() {
        for text in ["", "0", "0-1", "0-3,8", "1,3,5", "0-1,4-5,8191"] {
            assert_eq!(
                format_cpu_list(&parse_cpu_list(text).expect("a CPU list")),
                text
            );
        }
    }
}
