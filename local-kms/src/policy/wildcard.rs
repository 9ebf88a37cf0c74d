//! Patterns in which `*` is any text and `?` any one character.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    AnyChar,
    AnyText,
}

impl Token {
    pub(super) fn parse(character: char) -> Self {
        match character {
            '*' => Self::AnyText,
            '?' => Self::AnyChar,
            other => Self::Char(other),
        }
    }
}

/// In time of at most the product of both lengths: only the last `*` ever takes back what it matched.
pub(super) fn matches(pattern: &[Token], text: &str) -> bool {
    let needed = pattern.iter().filter(|token| **token != Token::AnyText).count();
    // An expanded variable can make a pattern far longer than any text, and much work of finding that out.
    if needed > text.len() {
        return false;
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at_token, mut at_char) = (0, 0);
    // Where to go on when the rest does not match: after the last `*`, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while at_char < text.len() {
        match pattern.get(at_token) {
            Some(Token::AnyText) => {
                at_token += 1;
                retry = Some((at_token, at_char));
                continue;
            }
            Some(Token::AnyChar) => {}
            Some(Token::Char(wanted)) if *wanted == text[at_char] => {}
            _ => {
                let Some((after_star, start)) = retry else { return false };
                retry = Some((after_star, start + 1));
                (at_token, at_char) = (after_star, start + 1);
                continue;
            }
        }
        at_token += 1;
        at_char += 1;
    }
    pattern[at_token..].iter().all(|token| *token == Token::AnyText)
}

/// Whether an ARN pattern matches: each of the six parts by itself, of which only the last may contain colons.
pub(super) fn matches_arn(pattern: &[Token], arn: &str) -> bool {
    let parts: Vec<&[Token]> = pattern.splitn(6, |token| *token == Token::Char(':')).collect();
    let wanted: Vec<&str> = arn.splitn(6, ':').collect();
    parts.len() == 6 && wanted.len() == 6 && parts.iter().zip(wanted).all(|(part, text)| matches(part, text))
}
