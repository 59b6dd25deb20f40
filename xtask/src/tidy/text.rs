//! Rust source with comments and the content of literals blanked, line by line, so that rules about code are not set
//! off by prose. A small lexer, exact for strings, raw strings, characters, lifetimes and nested comments.

/// The code of a file: as many lines as the file has, blanks in place of comments and literals.
pub(super) fn code(source: &str) -> String {
    let mut lexer = Lexer { rest: source, out: String::with_capacity(source.len()) };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    rest: &'a str,
    out: String,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(end);
        } else if self.rest.starts_with("/*") {
            self.blank(comment_end(self.rest));
        } else if let Some(hashes) = self.raw_string() {
            let close = format!("\"{}", "#".repeat(hashes));
            let opened = self.rest.find('"').map_or(self.rest.len(), |quote| quote + 1);
            let end = self.rest.get(opened..).and_then(|rest| rest.find(&close));
            self.blank(end.map_or(self.rest.len(), |end| opened + end + close.len()));
        } else if first == '"' {
            self.blank(quoted_end(self.rest, '"'));
        } else if first == '\'' && is_character(self.rest) {
            self.blank(quoted_end(self.rest, '\''));
        } else if first.is_alphanumeric() || first == '_' {
            let word =
                self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
            self.keep(word);
        } else {
            self.keep(first.len_utf8());
        }
        true
    }

    /// Number of hashes if a raw string begins here.
    fn raw_string(&self) -> Option<usize> {
        let rest = self.rest.strip_prefix("br").or_else(|| self.rest.strip_prefix('r'))?;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest.get(hashes..)?.starts_with('"').then_some(hashes)
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.out.push_str(kept);
        self.rest = rest;
    }

    fn blank(&mut self, length: usize) {
        let (blanked, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.out.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

fn comment_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match rest.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => break,
            }
        }
    }
    text.len()
}

/// Where a literal that begins with `quote` ends.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Whether the apostrophe here begins a character literal rather than a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (Some(_), Some(after)) => after == '\'',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_prose_and_keeps_code_on_its_line() {
        let source =
            "a(); // b()\n/* c() /* d() */ */ e(\"f() \\\" g()\", 'h', r#\"i\"j\"#);\nk::<'l>(\"m\n\"); n()";
        let code = code(source);
        assert_eq!(code.lines().count(), source.lines().count());
        let words: Vec<_> =
            code.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["a", "e", "k", "l", "n"]);
        assert!(code.lines().last().is_some_and(|line| line.contains("n()")));
    }

    #[test]
    fn a_byte_string_and_an_escaped_apostrophe_end_where_they_should() {
        assert_eq!(code(r#"b"x" + '\'' + c"#).split_whitespace().collect::<Vec<_>>(), ["b", "+", "+", "c"]);
    }
}
