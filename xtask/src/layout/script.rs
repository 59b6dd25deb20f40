//! Writes the linker script. The sections a sidecar executed enter; the script's text leaves. Pure.
//!
//! A pattern stands for a family: all instances of a generic function have one name but for a hash that changes with each
//! compiler and crate, so none is in the script. Of a name no more is written than what no other function shares.

use super::map::Section;
use std::collections::{BTreeMap, BTreeSet};

/// The kernel maps this much around a fault (`fault_around_bytes`); a function by itself costs as much.
const WINDOW: u64 = 64 * 1024;
/// How much that never runs a family may have for each of its functions that does. Left where it is, such a function
/// costs a window, and more from Linux 6.18 on, which maps as much as the page cache holds in one piece.
const RIDERS_BYTES: u64 = 2 * WINDOW;
/// What names of seldom executed functions begin with.
const COLD: &str = ".text.unlikely.";
/// Beginnings of names that the compiler gives to sections if it has a profile.
const BY_PROFILE: [&str; 3] = [".text.hot.", ".text.split.", COLD];
/// Digits of the hash that ends a name of the old mangling, after `17h`.
const HASH_DIGITS: usize = 16;

/// When a section was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Executed {
    Never,
    Carrying,
    Idle,
}

/// What the script keeps together.
#[derive(Debug, Default)]
pub(super) struct Layout {
    idle: Group,
    carrying: Group,
}

/// One section of the binary.
#[derive(Debug, Default)]
struct Group {
    patterns: BTreeSet<String>,
    bytes: u64,
    executed_bytes: u64,
}

/// All sections that a pattern without a hash fits.
#[derive(Debug, Default)]
struct Family<'a> {
    sections: Vec<(&'a Section, Executed)>,
}

impl Family<'_> {
    /// Whether it is worth keeping together for what was executed then.
    fn is_worth(&self, when: Executed) -> bool {
        let executed = self.sections.iter().filter(|(_, executed)| *executed == when).count() as u64;
        executed > 0 && self.bytes() - self.executed_bytes(when) <= executed * RIDERS_BYTES
    }

    fn bytes(&self) -> u64 {
        self.sections.iter().map(|(section, _)| section.bytes).sum()
    }

    fn executed_bytes(&self, when: Executed) -> u64 {
        self.sections.iter().filter(|(_, executed)| *executed == when).map(|(section, _)| section.bytes).sum()
    }
}

impl Layout {
    /// Chooses the families worth keeping together.
    pub(super) fn choose<'a>(sections: impl Iterator<Item = (&'a Section, Executed)>) -> Self {
        let mut families = BTreeMap::<Pattern, Family<'a>>::new();
        for (section, executed) in sections {
            families.entry(Pattern::of(section)).or_default().sections.push((section, executed));
        }
        let (idle, rest) = families.into_iter().partition(|(_, family)| family.is_worth(Executed::Idle));
        let rest: BTreeMap<_, _> = rest;
        let (carrying, rest) = rest.into_iter().partition(|(_, family)| family.is_worth(Executed::Carrying));
        Self {
            idle: Group::of(&idle, [&carrying, &rest], Executed::Idle),
            carrying: Group::of(&carrying, [&idle, &rest], Executed::Carrying),
        }
    }

    /// The script, after a header of comment lines. What a profile calls hot comes first, if the compiler had one; then what
    /// idles: where a segment begins, no window reaches beyond it.
    pub(super) fn script(&self, header: &str) -> String {
        let mut script = String::from(header);
        script.push_str("SECTIONS\n{\n  .text.hot : { *(.text.hot .text.hot.*) }\n");
        for (name, group) in [("idle", &self.idle), ("carrying", &self.carrying)] {
            script.push_str("  .text.");
            script.push_str(name);
            script.push_str(" :\n  {\n");
            for pattern in &group.patterns {
                script.push_str("    ");
                script.push_str(&with_cold(pattern));
                script.push('\n');
            }
            script.push_str("  }\n");
        }
        script.push_str("  .text.split : { *(.text.split .text.split.*) }\n}\nINSERT BEFORE .text;\n");
        script
    }

    /// In a sentence, what it keeps together.
    pub(super) fn summary(&self) -> String {
        let said = |group: &Group| {
            format!(
                "{} patterns for {} KiB, of which {} KiB were executed",
                group.patterns.len(),
                group.bytes / 1024,
                group.executed_bytes / 1024
            )
        };
        format!("idle, {}; carrying, {}", said(&self.idle), said(&self.carrying))
    }
}

impl Group {
    fn of<'a>(
        families: &BTreeMap<Pattern, Family<'a>>,
        others: [&BTreeMap<Pattern, Family<'a>>; 2],
        when: Executed,
    ) -> Self {
        let others = others.into_iter().flat_map(BTreeMap::values).flat_map(|family| &family.sections);
        let others = others.map(|(section, _)| section.name.as_str());
        let others: BTreeSet<&str> = others.chain(BY_PROFILE).collect();
        let short: BTreeSet<Pattern> = families.keys().map(|pattern| pattern.shortest(&others)).collect();
        let mut group = Self::default();
        let mut previous: Option<&Pattern> = None;
        for pattern in &short {
            if !previous.is_some_and(|previous| previous.covers(pattern)) {
                group.patterns.insert(pattern.text());
                previous = Some(pattern);
            }
        }
        group.bytes = families.values().map(Family::bytes).sum();
        group.executed_bytes = families.values().map(|family| family.executed_bytes(when)).sum();
        group
    }
}

/// What a line of the script fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern {
    /// Sections whose names begin so, of any object.
    Begins(String),
    /// Sections by this pattern, of objects by that one.
    Is { section: String, object: String },
}

impl Pattern {
    /// The one for a section and its family.
    fn of(section: &Section) -> Self {
        let Some(function) = section.name.strip_prefix(".text.") else {
            return Self::Is { section: section.name.clone(), object: object(&section.object) };
        };
        let name = format!(".text.{}", family(function));
        match name.strip_suffix('*') {
            Some(beginning) if !beginning.contains('*') => Self::Begins(beginning.to_owned()),
            Some(_) | None => Self::Is { section: name, object: "*".to_owned() },
        }
    }

    /// Shortened to what none of the others begins with. What is cold already keeps its name: by a profile much more is.
    fn shortest(&self, others: &BTreeSet<&str>) -> Self {
        let Self::Begins(name) = self else { return self.clone() };
        if name.starts_with(COLD) {
            return self.clone();
        }
        let before = others.range(..name.as_str()).next_back();
        let after = others.range(name.as_str()..).next();
        let shared =
            before.into_iter().chain(after).map(|other| shared_bytes(name, other)).max().unwrap_or(0);
        Self::Begins(name.get(..=shared).unwrap_or(name).to_owned())
    }

    /// Whether the other fits nothing that this does not.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Begins(beginning), Self::Begins(name)) => name.starts_with(beginning),
            (Self::Begins(_) | Self::Is { .. }, _) => false,
        }
    }

    /// As a linker script has it.
    fn text(&self) -> String {
        match self {
            Self::Begins(name) => format!("*({name}*)"),
            Self::Is { section, object } => format!("{object}({section})"),
        }
    }
}

/// The pattern, and the same functions as the compiler calls them if a profile tells it that they are seldom executed.
fn with_cold(pattern: &str) -> String {
    match pattern.strip_suffix(')').and_then(|pattern| pattern.split_once("(.text.")) {
        Some((object, function)) if !function.starts_with("unlikely.") => {
            format!("{object}(.text.{function} .text.unlikely.{function})")
        }
        Some(_) | None => pattern.to_owned(),
    }
}

fn shared_bytes(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

/// The name without what changes from build to build; of code that is seldom executed it begins with `unlikely.`.
fn family(function: &str) -> String {
    if let Some((name, rest)) = function.split_once("17h") {
        let hash = rest.get(..HASH_DIGITS).unwrap_or_default();
        if hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return format!("{name}17h*");
        }
    }
    let name = without_number(function);
    let tail = if name.len() < function.len() { "*" } else { "" };
    format!("{}{tail}", without_versions(name))
}

fn without_number(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        Some(_) | None => name,
    }
}

/// C and assembly of aws-lc are named `aws_lc_MAJOR_MINOR_PATCH_FUNCTION`; crates in the new mangling carry a hash each,
/// `CsHASH_`.
fn without_versions(name: &str) -> String {
    if let Some((prefix, rest)) = name.split_once("aws_lc_") {
        return format!(
            "{prefix}aws_lc_*_{}",
            rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_')
        );
    }
    let mut parts = name.split("Cs");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("Cs");
        match part.split_once('_') {
            Some((hash, rest))
                if hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                out.push_str("*_");
                out.push_str(rest);
            }
            Some(_) | None => out.push_str(part),
        }
    }
    out
}

/// An object file, without the hash before its name; its twin for processors without an instruction, `NAME_alt`, is
/// the same family, since the processor that valgrind plays lacks some.
fn object(name: &str) -> String {
    let name = name.split_once('-').map_or(name, |(_hash, name)| name);
    let stem = name.strip_suffix(".o").unwrap_or(name);
    format!("*{}*.o", stem.strip_suffix("_alt").unwrap_or(stem))
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &str, object: &str, bytes: u64) -> Section {
        Section { name: name.to_owned(), object: object.to_owned(), bytes }
    }

    #[test]
    fn patterns_hold_nothing_that_changes_from_build_to_build() {
        let cases = [
            (".text._ZN3app3run17h0123456789abcdefE", "x.o", "*(.text._ZN3app3run17h*)"),
            (".text._ZN3app3run17h0123456789abcdefE.llvm.99", "x.o", "*(.text._ZN3app3run17h*)"),
            (".text.unlikely._ZN3app3run17h0123456789abcdefE", "x.o", "*(.text.unlikely._ZN3app3run17h*)"),
            (".text._ZN3app17has_17h_in_itE", "x.o", "*(.text._ZN3app17has_17h_in_itE)"),
            (".text._RNvNtCsjrHSEGnQ3l9_3std2fs4open.118", "x.o", "*(.text._RNvNtCs*_3std2fs4open*)"),
            (".text._RNvNtCs_3abc", "x.o", "*(.text._RNvNtCs_3abc)"),
            (".text.aws_lc_0_47_0_SHA256_Init", "x.o", "*(.text.aws_lc_*_SHA256_Init)"),
            (".text.T_aws_lc_0_47_0_Init", "x.o", "*(.text.T_aws_lc_*_Init)"),
            (".text.mi_free", "x.o", "*(.text.mi_free)"),
            (".text", "00d1b03bb8efc9c1-p256_mul_alt.o", "*p256_mul*.o(.text)"),
            (".text", "Scrt1.o", "*Scrt1*.o(.text)"),
        ];
        for (name, object, expected) in cases {
            assert_eq!(Pattern::of(&section(name, object, 1)).text(), expected);
        }
    }

    /// The patterns of `.text.carrying` and of `.text.idle`.
    fn chosen(sections: &[(&str, u64, Executed)]) -> [Vec<String>; 2] {
        let sections: Vec<_> = sections
            .iter()
            .map(|(name, bytes, when)| (section(&format!(".text.{name}"), "x.o", *bytes), *when))
            .collect();
        let layout = Layout::choose(sections.iter().map(|(section, when)| (section, *when)));
        [layout.carrying, layout.idle].map(|group| group.patterns.into_iter().collect())
    }

    #[test]
    fn a_family_is_kept_together_unless_most_of_it_never_runs() {
        let family = |second, second_bytes| {
            chosen(&[
                ("_ZN1a17h0000000000000001E", 10, Executed::Idle),
                ("_ZN1a17h0000000000000002E", second_bytes, second),
                ("_ZN1b17h0000000000000003E", 10, Executed::Never),
            ])
        };
        let kept = [vec![], vec!["*(.text._ZN1a*)".to_owned()]];
        assert_eq!(family(Executed::Never, RIDERS_BYTES), kept);
        assert_eq!(family(Executed::Carrying, RIDERS_BYTES), kept);
        assert_eq!(family(Executed::Never, RIDERS_BYTES + 1), [vec![], vec![]] as [Vec<String>; 2]);
    }

    #[test]
    fn a_script_finds_functions_whether_the_compiler_had_a_profile_or_not() {
        let sections = [
            (section(".text._ZN1a17h0123456789abcdefE", "x.o", 1), Executed::Idle),
            (section(".text.unlikely._ZN1b17h0123456789abcdefE", "x.o", 1), Executed::Idle),
            (section(".text.upper.7", "x.o", 1), Executed::Idle),
            (section(".text", "00d1b03bb8efc9c1-p256_mul.o", 1), Executed::Carrying),
            (section(".text._ZN1z17h0123456789abcdefE", "x.o", 1), Executed::Never),
        ];
        let layout = Layout::choose(sections.iter().map(|(section, when)| (section, *when)));
        let script = layout.script("");
        let lines: Vec<_> = script.lines().map(str::trim).collect();
        assert!(lines.contains(&"*(.text._ZN1a* .text.unlikely._ZN1a*)"), "{script}");
        assert!(lines.contains(&"*(.text.unlikely._ZN1b17h*)"), "{script}");
        assert!(lines.contains(&"*(.text.up* .text.unlikely.up*)"), "nothing else begins so: {script}");
        assert!(lines.contains(&"*p256_mul*.o(.text)"), "{script}");
    }

    #[test]
    fn names_are_written_as_far_as_no_function_elsewhere_shares_them() {
        let [carrying, idle] = chosen(&[
            ("_ZN4tree4leaf17h0000000000000001E", 1, Executed::Idle),
            ("_ZN4tree4root17h0000000000000002E", 1, Executed::Idle),
            ("_ZN5table3leg17h0000000000000003E", 1, Executed::Idle),
            ("_ZN5table4edge17h0000000000000004E", 1, Executed::Carrying),
            ("_ZN5table3top17h0000000000000005E", 1, Executed::Never),
        ]);
        assert_eq!(idle, ["*(.text._ZN4*)", "*(.text._ZN5table3l*)"]);
        assert_eq!(carrying, ["*(.text._ZN5table4*)"]);
    }

    #[test]
    fn the_script_has_a_section_for_each_group() {
        let idle = section(".text._ZN1a17h0000000000000001E", "x.o", 1);
        let carrying = section(".text._ZN1b17h0000000000000001E", "x.o", 1);
        let layout = Layout::choose([(&idle, Executed::Idle), (&carrying, Executed::Carrying)].into_iter());
        assert_eq!(
            layout.script("/* header */\n"),
            "/* header */\nSECTIONS\n{\n  .text.hot : { *(.text.hot .text.hot.*) }\n  .text.idle :\n  {\n    *(.text._ZN1a* \
             .text.unlikely._ZN1a*)\n  }\n  .text.carrying :\n  {\n    *(.text._ZN1b* .text.unlikely._ZN1b*)\n  }\n  \
             .text.split : { *(.text.split .text.split.*) }\n}\nINSERT BEFORE .text;\n"
        );
    }

    #[test]
    fn a_star_fits_anything() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*b", "ac", false),
            ("*b", "ab", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} and {name}");
        }
    }
}
