//! Texts of strangers.

/// Whether a character is not seen, or turns the direction of what follows (Unicode TR 9): told as it is, it would change
/// how the rest is read. What controls (`char::is_control`) is another matter.
pub const fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{061c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}
