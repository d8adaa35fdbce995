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

/// Bytes of the longest word that a document may have where one word is meant: a platform's
/// names, a media type. RFC 6838 has 127 for each half of the latter.
pub const LONGEST_WORD: usize = 255;

/// Whether a letter breaks lines, steers terminals, or turns the text around it the other way.
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Whether a stranger's text can be shown wherever one word is expected.
#[must_use]
pub fn is_word(text: &str) -> bool {
    text.len() <= LONGEST_WORD && !text.contains(steers)
}

/// The text with escapes for what steers terminals, lines left as they are. Within strings of JSON
/// the escapes mean what they stand for.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_harm = |letter: char| letter != '\n' && letter != '\t' && steers(letter);
    if !text.contains(is_harm) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_harm(letter) {
            // All of them are in the first plane.
            clean.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            clean.push(letter);
        }
    }
    Cow::Owned(clean)
}

/// The text as one line of at most `most` bytes and an ellipsis: spaces stand for whatever breaks
/// lines or steers terminals.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|letter| if steers(letter) { ' ' } else { letter }).collect();
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
    text.chars().filter(|letter| !steers(*letter)).collect()
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
    fn words_are_short_and_steer_nothing() {
        for word in ["", "arm64", "10.0.17763.1", "été", &"x".repeat(255)] {
            assert!(is_word(word), "{word:?}");
        }
        for text in ["a\nb", "\u{1b}[2J", "\u{9b}2J", "\u{7f}", "x\u{202e}gnp", "a\u{2028}b", &"x".repeat(256)] {
            assert!(!is_word(text), "{text:?}");
        }
    }

    #[test]
    fn escapes_mean_the_same_in_json() {
        assert_eq!(escaped("two\nlines\tof it"), "two\nlines\tof it");
        assert_eq!(escaped("\u{1b}[2Jx\u{9b}0m\r\u{202e}y\u{7f}"), r"\u001b[2Jx\u009b0m\u000d\u202ey\u007f");
        let text = "\u{9b}2J\u{202e}\u{7f}\u{2028}";
        let json = serde_json::to_string(text).expect("is text");
        assert_eq!(serde_json::from_str::<String>(&escaped(&json)).expect("is JSON still"), text);
        assert!(!escaped(&json).contains(steers));
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
            prop_assert!(!one_line(&text, 64).contains(steers));
        }
    }
}
