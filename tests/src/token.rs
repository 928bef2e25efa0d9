//! Tokens as kvd has them, made without kvd: `kvd_`, 30 characters of base62, and 6 of their CRC-32.

const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token that nobody was given, and that is well-formed.
#[must_use]
pub fn made_up() -> String {
    let random: String = (0..30).map(|_| fastrand::alphanumeric()).collect();
    let mut rest = crc32(random.as_bytes());
    let mut check = Vec::new();
    for _ in 0..6 {
        check.push(char::from(BASE_62[(rest % 62) as usize]));
        rest /= 62;
    }
    let check: String = check.iter().rev().collect();
    format!("kvd_{random}{check}")
}

/// That of ISO-HDLC (RFC 1952, 8), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let odd = sum & 1 == 1;
            sum >>= 1;
            if odd {
                sum ^= 0xEDB8_8320;
            }
        }
    }
    !sum
}
