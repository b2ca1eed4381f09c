//! SQL as text: blanking out comments and strings, splitting files into statements, reading marks.
//!
//! These work on any SQL, also on what the parser does not understand.

/// What to do with a dollar-quoted body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// A body is code: only its delimiters are blanked.
    AreCode,
    /// A body is one opaque string.
    AreText,
}

/// One statement of a file, with the comments that stand before it.
pub struct Piece {
    /// Line on which the statement itself (not its comment) begins.
    pub line: usize,
    /// The text, without the semicolon.
    pub text: String,
}

/// The same text with comments, strings and quoted names turned into spaces; offsets stay the same.
pub fn mask(sql: &str, bodies: Bodies) -> String {
    let bytes = sql.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(end) = blank_end(bytes, at, bodies) else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Splits on semicolons that stand outside comments, strings and dollar-quoted bodies.
pub fn split(sql: &str) -> Vec<Piece> {
    let masked = mask(sql, Bodies::AreText);
    let mut pieces = Vec::new();
    let mut start = 0;
    let ends = masked.match_indices(';').map(|(at, _)| at).chain([masked.len()]);
    for end in ends {
        let code = &masked[start..end];
        if let Some(first) = code.find(|c: char| !c.is_whitespace()) {
            let line = line_of(sql, start + first);
            pieces.push(Piece { line, text: sql[start..end].to_owned() });
        }
        start = (end + 1).min(masked.len());
    }
    pieces
}

/// The words of a masked text with their offsets.
pub fn words(masked: &str) -> impl Iterator<Item = (usize, &str)> {
    masked.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(move |word| {
        let offset = word.as_ptr() as usize - masked.as_ptr() as usize;
        (offset, word)
    })
}

/// The line of an offset, counted from one.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Whether a comment says `-- tidy: <mark> because <some reason>`.
pub fn marked(sql: &str, mark: &str) -> bool {
    sql.lines().any(|line| {
        line.split_once("-- tidy:")
            .and_then(|(_, rest)| rest.trim().strip_prefix(mark))
            .and_then(|rest| rest.trim().strip_prefix("because"))
            .is_some_and(|reason| !reason.trim().is_empty())
    })
}

/// Whether the word at `offset` is followed by an opening parenthesis.
pub fn is_call(masked: &str, offset: usize, word: &str) -> bool {
    masked[offset + word.len()..].trim_start().starts_with('(')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the comment, string or quoted name that begins at `at` ends, if one begins there.
fn blank_end(bytes: &[u8], at: usize, bodies: Bodies) -> Option<usize> {
    let rest = &bytes[at..];
    match rest[0] {
        b'-' if rest.starts_with(b"--") => {
            let length = rest.iter().position(|byte| *byte == b'\n');
            Some(at + length.unwrap_or(rest.len()))
        }
        b'/' if rest.starts_with(b"/*") => Some(at + block_comment_length(rest)),
        b'\'' => Some(at + quoted_length(rest, b'\'', has_escapes(bytes, at))),
        b'"' => Some(at + quoted_length(rest, b'"', false)),
        b'$' if at == 0 || !is_word(char::from(bytes[at - 1])) => dollar_end(bytes, at, bodies),
        _ => None,
    }
}

/// PostgreSQL's block comments nest.
fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Backslashes only escape in `e'…'`.
fn has_escapes(bytes: &[u8], at: usize) -> bool {
    let marked = at > 0 && matches!(bytes[at - 1], b'e' | b'E');
    marked && (at < 2 || !is_word(char::from(bytes[at - 2])))
}

fn quoted_length(rest: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while at < rest.len() {
        if escapes && rest[at] == b'\\' {
            at += 2;
        } else if rest[at] == quote {
            // A doubled quote is blanked as two strings side by side, which comes to the same.
            return at + 1;
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn dollar_end(bytes: &[u8], at: usize, bodies: Bodies) -> Option<usize> {
    let tag = bytes[at + 1..].iter().position(|byte| *byte == b'$')?;
    let delimiter = &bytes[at..at + tag + 2];
    let name = &delimiter[1..delimiter.len() - 1];
    // `$1` is a parameter, not a delimiter.
    if name.first().is_some_and(u8::is_ascii_digit) || !name.iter().all(|b| is_word(char::from(*b)))
    {
        return None;
    }
    let body = at + delimiter.len();
    if bodies == Bodies::AreCode {
        return Some(body);
    }
    let close = bytes[body..].windows(delimiter.len()).position(|window| window == delimiter);
    Some(close.map_or(bytes.len(), |offset| body + offset + delimiter.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_strings_comments_and_bodies_do_not_split() {
        let sql = "-- one; two\nselect ';';\ndo $x$ begin; end $x$;\n/* ; */ select e'\\';';\n";
        let lines: Vec<usize> = split(sql).iter().map(|piece| piece.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn parameters_are_not_dollar_quotes() {
        assert_eq!(mask("a = $1 and b = $2", Bodies::AreText), "a = $1 and b = $2");
    }

    #[test]
    fn a_body_that_is_code_keeps_its_words() {
        assert_eq!(mask("do $$ select 'x' $$", Bodies::AreCode), "do    select       ");
    }

    #[test]
    fn a_mark_needs_a_reason() {
        assert!(marked("-- tidy: unparsed because merge\nmerge", "unparsed"));
        assert!(!marked("-- tidy: unparsed because\nmerge", "unparsed"));
    }
}
