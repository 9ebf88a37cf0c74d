//! The text of what a caller hands back unread: grant tokens and page markers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Comes first, so that every text begins with `A`: one that begins with `-` would be an option to the AWS CLI.
const VERSION: u8 = 1;

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&[VERSION], bytes].concat())
}

/// `None`: not a text of ours.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.strip_prefix(&[VERSION]).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_like_an_option_of_a_command() {
        for first in 0..=u8::MAX {
            let bytes = [first, 0xff];
            let text = encode(&bytes);
            assert!(text.starts_with('A'), "{text}");
            assert_eq!(decode(&text).as_deref(), Some(&bytes[..]));
        }
    }

    #[test]
    fn a_text_of_another_version_is_not_ours() {
        assert_eq!(decode("AWE").as_deref(), Some(&b"a"[..]));
        for text in ["", "AmE", "YQ", "%", "-z-Y"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
