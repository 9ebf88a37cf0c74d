//! Random bytes and identifiers from the operating system.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Fills `bytes` from the operating system's generator.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// `length` characters of `A-Z2-7`, the alphabet of AWS access key ids.
pub(crate) fn base32(length: usize) -> io::Result<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0; length];
    fill(&mut bytes)?;
    // 32 divides 256: the modulus has no bias.
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// A secret access key: 40 characters, 240 bits.
pub(crate) fn secret_access_key() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 30]);
    fill(&mut *bytes)?;
    Ok(Zeroizing::new(STANDARD.encode(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_shape_aws_clients_expect() {
        let id = base32(16).unwrap();
        assert_eq!(id.len(), 16);
        assert!(id.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='7')), "{id}");
        assert_eq!(secret_access_key().unwrap().len(), 40);
        assert_ne!(base32(16).unwrap(), id);
    }
}
