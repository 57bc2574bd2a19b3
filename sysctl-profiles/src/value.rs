//! Values of keys: which text is one, what a kernel makes of it, and which of two is more.

use crate::catalogue::{KeyInfo, Kind, Rounding};

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has the value already, or more than is demanded.
    Unchanged,
    /// It becomes larger, or a range becomes wider.
    Raises,
    /// It becomes smaller, or a part of it does.
    Lowers,
    /// It becomes another value that is neither more nor less, such as a name or a mode.
    Changes,
}

/// Whether `text` can be a value of the key at all.
///
/// # Errors
/// Which rule it breaks, in words.
pub(crate) fn check(info: &KeyInfo, text: &str) -> Result<(), String> {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    match info.kind {
        Kind::Amount(elements) => numbers(info, &tokens, usize::from(elements)).map(drop),
        Kind::Number => numbers(info, &tokens, 1).map(drop),
        Kind::PortRange => match numbers(info, &tokens, 2)?[..] {
            [first, last] if first > last => Err("the first port is above the last".to_owned()),
            _ => Ok(()),
        },
        Kind::PortList => ports(text).map(drop),
        Kind::Name | Kind::Choice if tokens.len() != 1 => Err("it must be one name".to_owned()),
        Kind::Names if tokens.is_empty() => Err("it must name at least one".to_owned()),
        Kind::Name | Kind::Choice | Kind::Names => match tokens.iter().all(|name| is_name(name)) {
            true => Ok(()),
            false => Err("names are letters, digits, `-`, `_` and `.`".to_owned()),
        },
        Kind::CpuMask => mask(text).map(drop),
    }
}

fn numbers(info: &KeyInfo, tokens: &[&str], elements: usize) -> Result<Vec<i128>, String> {
    if tokens.len() != elements {
        let wanted = match elements {
            1 => "one number".to_owned(),
            several => format!("{several} numbers"),
        };
        return Err(format!(
            "it must be {wanted}, and these are {}",
            tokens.len()
        ));
    }
    let (min, max) = info.range;
    tokens
        .iter()
        .map(|token| match token.parse::<i128>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            Ok(number) => Err(format!("{number} is outside of {min} to {max}")),
            Err(_) => Err(format!("`{token}` is not a whole number")),
        })
        .collect()
}

fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.chars().all(of_name)
}

/// A value as the file shows it, in the one form in which this crate keeps and compares it.
pub(crate) fn normalise(kind: Kind, raw: &str) -> String {
    let text = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    match kind {
        Kind::Choice => match (text.find('['), text.find(']')) {
            (Some(from), Some(to)) if from < to => text[from + 1..to].to_owned(),
            _ => text,
        },
        Kind::PortList => ports(&text).map_or(text, |ranges| show_ports(&ranges)),
        Kind::CpuMask => mask(&text).unwrap_or(text),
        _ => text,
    }
}

/// What the kernel is expected to make of `wanted`.
pub(crate) fn granted(info: &KeyInfo, wanted: &str) -> String {
    let normal = normalise(info.kind, wanted);
    match (info.rounding, normal.parse::<u64>()) {
        (Rounding::PowerOfTwo, Ok(number)) if number > 0 => number
            .checked_next_power_of_two()
            .map_or(normal, |rounded| rounded.to_string()),
        _ => normal,
    }
}

/// The value that satisfies `>= wanted` where `current` is in force: each element the larger one; of a
/// range of ports the wider.
pub(crate) fn at_least(kind: Kind, wanted: &str, current: &str) -> String {
    let (Some(wanted_numbers), Some(numbers)) = (parse(wanted), parse(current)) else {
        return wanted.to_owned();
    };
    if wanted_numbers.len() != numbers.len() {
        return wanted.to_owned();
    }
    let pick = |at: usize, (wanted, current): (&i128, &i128)| match (kind, at) {
        (Kind::PortRange, 0) => *wanted.min(current),
        _ => *wanted.max(current),
    };
    let merged = wanted_numbers.iter().zip(&numbers).enumerate();
    let texts: Vec<String> = merged
        .map(|(at, pair)| pick(at, pair).to_string())
        .collect();
    texts.join(" ")
}

/// Whether two values are the same to the kernel.
pub(crate) fn same(kind: Kind, left: &str, right: &str) -> bool {
    let (left, right) = (normalise(kind, left), normalise(kind, right));
    if left == right {
        return true;
    }
    match kind {
        Kind::Names => {
            let sorted = |text: &str| {
                let mut names: Vec<String> = text.split(' ').map(str::to_owned).collect();
                names.sort();
                names
            };
            sorted(&left) == sorted(&right)
        }
        Kind::Amount(_) | Kind::Number | Kind::PortRange => {
            matches!((parse(&left), parse(&right)), (Some(left), Some(right)) if left == right)
        }
        _ => false,
    }
}

/// What a write of `new` over `old` does.
pub(crate) fn change(kind: Kind, old: &str, new: &str) -> Change {
    if same(kind, old, new) {
        return Change::Unchanged;
    }
    let (Some(before), Some(after)) = (parse(old), parse(new)) else {
        return Change::Changes;
    };
    let mut pairs = before.iter().zip(&after).enumerate();
    let lowers = match kind {
        Kind::Amount(_) => pairs.any(|(_, (before, after))| after < before),
        Kind::PortRange => pairs.any(|(at, (before, after))| match at {
            0 => after > before,
            _ => after < before,
        }),
        _ => return Change::Changes,
    };
    if lowers {
        Change::Lowers
    } else {
        Change::Raises
    }
}

/// Whether `now` can be what an interrupted write of `new` over `old` has left: each element is an old one
/// or a new one. Vectors are stored element by element, also when the write is refused in the end.
pub(crate) fn is_between(info: &KeyInfo, now: &str, old: &str, new: &str) -> bool {
    let rounded = granted(info, new);
    if [old, new, &rounded]
        .iter()
        .any(|one| same(info.kind, now, one))
    {
        return true;
    }
    let parts = [now, old, new, &rounded].map(|text| text.split_whitespace().collect::<Vec<_>>());
    let [now, old, new, rounded] = &parts;
    let vector = matches!(info.kind, Kind::Amount(_) | Kind::PortRange);
    // More elements than the vector has are a short write, fewer leave its tail as it was.
    let ours = |at: usize| {
        [old, new, rounded]
            .iter()
            .any(|part| part.get(at) == Some(&now[at]))
    };
    vector && old.len() == now.len() && (0..now.len()).all(ours)
}

fn parse(text: &str) -> Option<Vec<i128>> {
    text.split_whitespace()
        .map(|token| token.parse().ok())
        .collect()
}

/// `8080,9000-9100` as ranges in order, those that touch made one, as the kernel shows them.
fn ports(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let mut ranges = Vec::new();
    let parts = text.split(',').map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => ranges.push((first, last)),
            _ => return Err(format!("`{part}` is neither a port nor a range of ports")),
        }
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => {
                before.1 = before.1.max(last)
            }
            _ => merged.push((first, last)),
        }
    }
    Ok(merged)
}

fn show_ports(ranges: &[(u16, u16)]) -> String {
    let show = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(",")
}

/// A mask without commas and leading zeros.
fn mask(text: &str) -> Result<String, String> {
    let digits: String = text.trim().split(',').collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("a set of CPUs is a hexadecimal number such as `f`".to_owned());
    }
    let digits = digits.trim_start_matches('0').to_ascii_lowercase();
    Ok(if digits.is_empty() {
        "0".to_owned()
    } else {
        digits
    })
}

#[cfg(test)]
mod tests;
