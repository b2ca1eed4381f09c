//! PostgreSQL that the parser does not know and no rule looks at is blanked before parsing.
//!
//! Otherwise a lock strength or a partial conflict target would cost a statement all its checks.

use crate::sql_text::{self, Bodies};

/// The same SQL without the parts the parser stumbles over; offsets stay the same.
pub fn without(sql: &str) -> String {
    let masked = sql_text::mask(sql, Bodies::AreText).to_ascii_lowercase();
    let words: Vec<(usize, &str)> = sql_text::words(&masked).collect();
    let mut out = sql.as_bytes().to_vec();
    for at in 0..words.len() {
        let Some((from, to)) = gap(&masked, &words, at) else {
            continue;
        };
        for byte in &mut out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The part to blank that is announced by the words beginning at `at`.
fn gap(masked: &str, words: &[(usize, &str)], at: usize) -> Option<(usize, usize)> {
    let says = |wanted: &[&str]| {
        let found = words[at..].iter().map(|(_, word)| word);
        words.len() - at >= wanted.len() && found.zip(wanted).all(|(word, wanted)| word == wanted)
    };
    let end_of = |index: usize| {
        let (offset, word) = words[index];
        offset + word.len()
    };
    if says(&["for", "no", "key", "update"]) {
        return Some((words[at + 1].0, end_of(at + 2)));
    }
    if says(&["for", "key", "share"]) {
        return Some((words[at + 1].0, end_of(at + 1)));
    }
    if says(&["delete", "set", "null"]) || says(&["delete", "set", "default"]) {
        return parentheses(masked, end_of(at + 2));
    }
    if says(&["on", "conflict"]) {
        let (_, target_end) = parentheses(masked, end_of(at + 1))?;
        let next = words.iter().position(|(offset, _)| *offset >= target_end)?;
        if words[next].1 != "where" {
            return None;
        }
        let action = words[next..].iter().find(|(_, word)| *word == "do")?;
        return Some((words[next].0, action.0));
    }
    None
}

/// The parentheses that begin at `from`, white space aside.
fn parentheses(masked: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &masked[from..];
    let open = from + rest.len() - rest.trim_start().len();
    let mut depth = 0;
    for (offset, letter) in masked[open..].char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (letter == ')').then_some((open, open + offset + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn only_what_the_parser_does_not_know_is_blanked() {
        let gone = |sql: &str| without(sql).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(gone("select 1 for no key update"), "select 1 for update");
        assert_eq!(gone("select 1 for key share"), "select 1 for share");
        assert_eq!(gone("x on delete set null (a, b), c"), "x on delete set null , c");
        assert_eq!(
            gone("on conflict (a, f(b)) where c is null do nothing"),
            "on conflict (a, f(b)) do nothing"
        );
        let kept = "on conflict (a) do update set b = excluded.b where c = 'for key share'";
        assert_eq!(gone(kept), kept);
    }
}
