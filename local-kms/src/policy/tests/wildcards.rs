use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::wildcard::{Token, matches, matches_arn};

fn tokens(pattern: &str) -> Vec<Token> {
    pattern.chars().map(Token::parse).collect()
}

/// The definition, without regard to time.
fn matches_by_definition(pattern: &[Token], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((Token::AnyText, rest)), _) => (0..=text.len()).any(|taken| matches_by_definition(rest, &text[taken..])),
        (Some((Token::AnyChar, rest)), Some((_, text))) => matches_by_definition(rest, text),
        (Some((Token::Char(wanted), rest)), Some((first, text))) => {
            wanted == first && matches_by_definition(rest, text)
        }
        _ => false,
    }
}

#[test]
fn a_star_is_any_text_and_a_question_mark_one_character() {
    for (pattern, text) in
        [("", ""), ("*", ""), ("*", "a:b/c"), ("a*c", "ac"), ("a*c", "abcbc"), ("?", "é"), ("a**", "a")]
    {
        assert!(matches(&tokens(pattern), text), "{pattern} {text}");
    }
    for (pattern, text) in [("", "a"), ("?", ""), ("?", "ab"), ("a*c", "acb"), ("a", "A"), ("a?", "a")] {
        assert!(!matches(&tokens(pattern), text), "{pattern} {text}");
    }
}

#[test]
fn a_hostile_pattern_takes_no_time() {
    let started = Instant::now();
    let text = "a".repeat(8192);
    assert!(!matches(&tokens(&"a*".repeat(4000)), &format!("{text}b").replace('a', "c")));
    assert!(!matches(&tokens(&format!("{}b", "*a".repeat(4000))), &text));
    assert!(matches(&tokens(&"*a".repeat(4000)), &text));
    assert!(!matches(&tokens(&format!("*{}b", "a".repeat(4000))), &text));
    assert!(!matches(&tokens(&"a".repeat(10_000_000)), &text));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_wildcards_of_an_arn_stay_in_their_part() {
    let key = "arn:aws:kms:us-east-1:111122223333:key/a:b";
    for pattern in ["arn:aws:kms:*:111122223333:key/*", "arn:*:*:*:*:*", "arn:aws:kms:us-east-?:*:key/a:b", key] {
        assert!(matches_arn(&tokens(pattern), key), "{pattern}");
    }
    for pattern in ["arn:*:111122223333:key/*", "*", "arn:*", "arn:aws:kms:*:key/a:b", "arn:aws:kms:*:*:*:key/b:*"] {
        assert!(!matches_arn(&tokens(pattern), key), "{pattern}");
    }
}

proptest! {
    #[test]
    fn matching_is_as_defined(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
        let pattern = tokens(&pattern);
        let characters: Vec<char> = text.chars().collect();
        prop_assert_eq!(matches(&pattern, &text), matches_by_definition(&pattern, &characters));
    }
}
