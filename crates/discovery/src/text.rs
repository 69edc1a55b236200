//! From text to words: identifiers are taken apart.

/// The longest word, in bytes: what is longer is no word.
const LONGEST_WORD: usize = 40;

/// Gives every word of a text in lower case: at what is no letter or digit, where small letters turn into capitals
/// (`getUser`), before the last of several capitals (`HTTPServer`), and between letters and digits. Letters of scripts that
/// are written without spaces stand for themselves.
pub(crate) fn split(text: &str, mut each: impl FnMut(&str)) {
    let mut word = String::new();
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        if !letter.is_alphanumeric() {
            give(&mut word, &mut each);
        } else if is_word_of_its_own(letter) {
            give(&mut word, &mut each);
            word.push(letter);
            give(&mut word, &mut each);
        } else {
            let next_is_small = letters.peek().is_some_and(|next| next.is_lowercase());
            let turns = letter.is_uppercase()
                && (before.is_lowercase() || before.is_uppercase() && next_is_small)
                || letter.is_numeric() != before.is_numeric() && before.is_alphanumeric();
            if turns {
                give(&mut word, &mut each);
            }
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    give(&mut word, &mut each);
}

fn give(word: &mut String, each: &mut impl FnMut(&str)) {
    if !word.is_empty() && word.len() <= LONGEST_WORD {
        each(word);
    }
    word.clear();
}

/// Han, Hiragana, Katakana.
fn is_word_of_its_own(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

/// At most so many bytes of a text, whole characters.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        split(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn identifiers_are_taken_apart() {
        assert_eq!(words("getUserByID2"), ["get", "user", "by", "id", "2"]);
        assert_eq!(words("HTTPServer_max-size.v3"), ["http", "server", "max", "size", "v", "3"]);
        assert_eq!(words("Übergröße, später!"), ["übergröße", "später"]);
        assert_eq!(words("东京 weather"), ["东", "京", "weather"]);
        assert_eq!(words(&"x".repeat(100)), [""; 0]);
        assert_eq!(beginning("aé", 2), "a");
    }
}
