//! Prints for the node. Much of it is text that others chose: what they say, and names in their addresses.

use std::fmt::Display;

/// Prints one line. A terminal shows all of it and obeys none of it.
#[allow(clippy::print_stdout)]
pub(crate) fn print_line(line: impl Display) {
    println!("{}", escaped(&line.to_string()));
}

/// Escapes characters that a terminal obeys, that break a line, or that reorder what stands beside them.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match is_shown(character) {
            true => escaped.push(character),
            false => escaped.extend(character.escape_default()),
        }
    }
    escaped
}

/// Returns false for C0 and C1 controls, the separators of lines and paragraphs, and the controls of the
/// bidirectional algorithm (UAX #9, section 2).
fn is_shown(character: char) -> bool {
    let is_separator = matches!(character, '\u{2028}' | '\u{2029}');
    let is_bidi = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !character.is_control() && !is_separator && !is_bidi
}
