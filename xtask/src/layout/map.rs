//! The link map that lld writes. Its text enters; the sections of code it lists leave, found by symbol or address.

use std::collections::{BTreeMap, HashMap};

/// What the linker puts code into.
const CODE: &str = ".text";

/// Code as it came to the linker: mostly one function; for assembly, a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// Its name, `.text.FUNCTION` or just `.text`.
    pub(super) name: String,
    /// The object file, without its archive's name.
    pub(super) object: String,
    /// Its length.
    pub(super) bytes: u64,
}

/// Everything the map lists of code.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// In the order of their addresses.
    pub(super) sections: Vec<Section>,
    by_symbol: HashMap<String, usize>,
    by_address: BTreeMap<u64, usize>,
}

impl Map {
    /// Reads a map. Lines it does not know are left out.
    pub(super) fn read(text: &str) -> Self {
        let mut map = Self::default();
        let mut is_code = false;
        for row in text.lines().filter_map(Row::read) {
            match row.column {
                Column::Output => is_code = row.what.starts_with(CODE),
                Column::Input if is_code => map.add(&row),
                Column::Symbol if is_code && !map.sections.is_empty() => {
                    map.by_symbol.insert(row.what.to_owned(), map.sections.len() - 1);
                }
                Column::Input | Column::Symbol => {}
            }
        }
        map
    }

    fn add(&mut self, row: &Row<'_>) {
        let Some((file, name)) = row.what.strip_suffix(')').and_then(|what| what.rsplit_once(":(")) else {
            return;
        };
        if !name.starts_with(CODE) {
            return;
        }
        let object =
            file.strip_suffix(')').and_then(|file| file.rsplit_once('(')).map_or(file, |(_, member)| member);
        let object = object.rsplit('/').next().unwrap_or(object);
        self.by_address.insert(row.address, self.sections.len());
        self.sections.push(Section { name: name.to_owned(), object: object.to_owned(), bytes: row.bytes });
    }

    /// Where a function lies, by its name, or by its address as `0x1f00` if it has none.
    pub(super) fn position(&self, function: &str) -> Option<usize> {
        if let Some(digits) = function.strip_prefix("0x") {
            let address = u64::from_str_radix(digits, 16).ok()?;
            let (start, position) = self.by_address.range(..=address).next_back()?;
            let section = self.sections.get(*position)?;
            return (address - start < section.bytes).then_some(*position);
        }
        // So valgrind calls what runs before `main`.
        let symbol = if function == "(below main)" { "_start" } else { function };
        self.by_symbol.get(symbol).copied()
    }
}

/// Which column the last word of a line is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Output,
    Input,
    Symbol,
}

/// A line: address, address when loaded, length, alignment, and what is there.
#[derive(Debug)]
struct Row<'a> {
    address: u64,
    bytes: u64,
    column: Column,
    what: &'a str,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (address, rest) = line.trim_start().split_once(' ')?;
        let (_loaded, rest) = rest.trim_start().split_once(' ')?;
        let (bytes, rest) = rest.trim_start().split_once(' ')?;
        let (_alignment, rest) = rest.trim_start().split_once(' ')?;
        let what = rest.trim_start();
        let column = match rest.len() - what.len() {
            0 => Column::Output,
            8 => Column::Input,
            16 => Column::Symbol,
            _ => return None,
        };
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { address: number(address)?, bytes: number(bytes)?, column, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
             VMA              LMA     Size Align Out     In      Symbol
            1000             1000       10     1 .rodata
            1000             1000       10     1         /x/a.o:(.rodata.text)
            2000             2000      130    16 .text
            2000             2000       26    16         /usr/lib/crt1.o:(.text)
            2000             2000       26     1                 _start
            2030             2030       40    16         /x/libaws-1.rlib(7f-x25519.o):(.text)
            2034             2034        0     1                 multiply
            2100             2100       20    16         /x/a b.o:(.text.unlikely._ZN1a1b17h0123456789abcdefE)
            2100             2100       20     1                 _ZN1a1b17h0123456789abcdefE
";

    #[test]
    fn code_is_found_by_symbol_and_by_address() {
        let map = Map::read(MAP);
        let at = |function| map.position(function).map(|position| map.sections[position].object.as_str());
        assert_eq!(map.sections.len(), 3);
        assert_eq!(at("_start"), Some("crt1.o"));
        assert_eq!(at("(below main)"), Some("crt1.o"));
        assert_eq!(at("multiply"), Some("7f-x25519.o"));
        assert_eq!(at("_ZN1a1b17h0123456789abcdefE"), Some("a b.o"));
        assert_eq!(at("0x0000206f"), Some("7f-x25519.o"));
        assert_eq!(at("0x2070"), None, "between two sections");
        assert_eq!(at("0x1000"), None, "no code");
        assert_eq!(at("unknown"), None);
    }
}
