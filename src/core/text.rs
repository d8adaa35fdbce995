//! Text that goes where there is one line for it, or so many bytes and no more.

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
