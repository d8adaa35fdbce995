//! Text that goes where there is one line for it, or so many bytes and no more.

use std::borrow::Cow;

/// The text, or as much of it as fits into `most` bytes, with an ellipsis behind it then.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().find(|(at, letter)| at + letter.len_utf8() > most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The text as one line of at most `most` bytes and an ellipsis: spaces stand for whatever breaks
/// lines or steers terminals.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    cut(&clean.split_whitespace().collect::<Vec<_>>().join(" "), most)
}

/// The text as one word of a POSIX shell, in quotes where it needs them, without what steers
/// terminals: such a word is shown before somebody pastes it.
#[must_use]
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", without_controls(text).replace('\'', "'\\''")))
}

/// The text without what steers terminals or breaks lines, and with all of its blanks.
#[must_use]
pub fn without_controls(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        for (text, most, expected) in
            [("quay", 4, "quay"), ("quays", 4, "quay…"), ("", 0, ""), ("é", 1, "…"), ("aé", 2, "a…"), ("aé", 3, "aé")]
        {
            assert_eq!(cut(text, most), expected, "{text:?} in {most}");
        }
        assert_eq!(one_line("two\nlines\r\n of\t it\u{1b}[0m ", 100), "two lines of it [0m");
    }

    #[test]
    fn words_of_a_shell() {
        let cases = [
            ("registry.example:5000/app@sha256:00", "registry.example:5000/app@sha256:00"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(id)", "'$(id)'"),
            ("~root", "'~root'"),
            ("a\u{1b}[0m\n", "'a[0m'"),
        ];
        for (text, expected) in cases {
            assert_eq!(shell_word(text), expected);
        }
    }

    proptest! {
        #[test]
        fn a_cut_is_a_beginning_and_never_too_long(text in ".{0,40}", most in 0_usize..40) {
            let shown = cut(&text, most);
            let kept = shown.strip_suffix('…').filter(|_| shown != text).unwrap_or(&shown);
            prop_assert!(text.starts_with(kept) && kept.len() <= most);
            prop_assert!(shown == text || text.len() > most);
        }

        #[test]
        fn one_line_is_one(text in any::<String>()) {
            prop_assert!(!one_line(&text, 64).contains(char::is_control));
        }
    }
}
