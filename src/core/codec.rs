//! How values lie in BLOB columns: a JSON *string* whose content is the JSON text of the value, as version 0.2.0
//! writes them (`{"a":1}` is stored as `"{\"a\":1}"`), with markers for what JSON cannot say.

use std::sync::Arc;

use memchr::memchr2;

use super::error::{Error, Result};
use super::value::Value;

/// The marker stored for `undefined`.
pub const UNDEFINED: &str = "__UNDEFINED__";

/// The marker stored for `null`, by the dedupe store only.
pub const NULL: &str = "__NULL__";

/// The longest JSON text that can be read back, in bytes of UTF-8: V8 makes no string of more.
pub const MAX_TEXT_BYTES: usize = (1 << 29) - 24;

/// Checks that a JSON text can be read back.
///
/// # Errors
/// [`Error::too_big`].
pub fn check_length(bytes: usize) -> Result<()> {
    if bytes > MAX_TEXT_BYTES { Err(Error::too_big(bytes, MAX_TEXT_BYTES)) } else { Ok(()) }
}

/// Encodes a JSON text, or a marker, as the bytes of a BLOB column: escaped as `JSON.stringify` escapes.
pub fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + text.len() / 8 + 2);
    if has_control(text) {
        // Never in what `JSON.stringify` has written. Writing a string to a Vec cannot fail.
        if serde_json::to_writer(&mut bytes, text).is_err() {
            bytes.clear();
        }
        return bytes;
    }
    bytes.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let (plain, escaped) = rest.split_at(at);
        bytes.extend_from_slice(plain);
        bytes.extend_from_slice(&[b'\\', escaped[0]]);
        rest = &escaped[1..];
    }
    bytes.extend_from_slice(rest);
    bytes.push(b'"');
    bytes
}

/// How many bytes [`encode`] makes of a text.
pub fn encoded_length(text: &str) -> usize {
    if has_control(text) {
        return encode(text).len();
    }
    text.len() + 2 + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

/// Whether the bytes of a text would be more than so many.
pub fn encoded_exceeds(text: &str, bytes: usize) -> bool {
    /// What an escaped character takes at most.
    const LONGEST_ESCAPE: usize = 6;
    text.len() > bytes / LONGEST_ESCAPE && encoded_length(text) > bytes
}

/// Decodes the text in a column to the JSON text, or marker, within. Plain JSON that is not a string is
/// taken as the text itself. `None`: neither.
fn decode(text: String) -> Option<String> {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace())?;
    if first == b'"' { unescape(&text).or_else(|| serde_json::from_str(&text).ok()) } else { Some(text) }
}

/// The content of a JSON string, if it is written as [`encode`] writes the JSON texts of `JSON.stringify`: nothing is
/// escaped but `"` and `\`, and nothing lies around it.
fn unescape(text: &str) -> Option<String> {
    if has_control(text) {
        return None;
    }
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut content = String::with_capacity(rest.len());
    while let Some(at) = memchr2(b'"', b'\\', rest.as_bytes()) {
        let (plain, escaped) = rest.split_at(at);
        content.push_str(plain);
        rest = escaped.strip_prefix('\\')?;
        // The character that is escaped: it may be a backslash itself.
        let (character, others) = rest.split_at_checked(1)?;
        if !matches!(character, "\"" | "\\") {
            return None;
        }
        content.push_str(character);
        rest = others;
    }
    content.push_str(rest);
    Some(content)
}

/// Whether a text has a control character, which a JSON string escapes.
fn has_control(text: &str) -> bool {
    // Looks at all of them: a loop that may end early is not vectorized.
    text.bytes().fold(false, |found, byte| found | (byte < b' '))
}

/// The JSON text, or marker, in a column: a BLOB, or TEXT where another program wrote it so. `None` where there is
/// none, or one that is too long.
pub fn text(value: Value) -> Option<Arc<String>> {
    let text = match value {
        Value::Json(text) => Some(text),
        Value::Blob(bytes) => String::from_utf8(bytes).ok().and_then(decode).map(Arc::new),
        Value::Text(text) => decode(text).map(Arc::new),
        _ => None,
    };
    text.filter(|text| check_length(text.len()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_that_is_too_long_is_refused_and_reads_as_absent() {
        assert_eq!(check_length(MAX_TEXT_BYTES), Ok(()));
        let error = check_length(MAX_TEXT_BYTES + 1).unwrap_err();
        assert!(error.to_string().contains("536870889 bytes"), "{error}");
        let text = |length| text(Value::from_json("a".repeat(length))).map(|text| text.len());
        assert_eq!(text(MAX_TEXT_BYTES), Some(MAX_TEXT_BYTES));
        assert_eq!(text(MAX_TEXT_BYTES + 1), None);
    }

    #[test]
    fn encodes_a_json_text_as_a_json_string() {
        assert_eq!(encode(r#"{"a":1}"#), br#""{\"a\":1}""#);
        assert_eq!(encode(UNDEFINED), br#""__UNDEFINED__""#);
    }

    #[test]
    fn reads_plain_json_and_refuses_what_is_neither() {
        let text = |bytes: &[u8]| text(Value::Blob(bytes.to_vec())).map(|text| text.to_string());
        assert_eq!(text(br#" {"a":1}"#).as_deref(), Some(r#" {"a":1}"#));
        assert_eq!(text(b"5").as_deref(), Some("5"));
        assert_eq!(text(b""), None);
        assert_eq!(text(b"\"unterminated"), None);
        assert_eq!(text(b"\""), None);
        assert_eq!(text(br#""\""#), None);
        assert_eq!(text(br#""a"b""#), None);
        assert_eq!(text(b"\"a\nb\""), None);
        assert_eq!(text(br#" "\u0061\n\\" "#).as_deref(), Some("a\n\\"));
        assert_eq!(text(&[0xff, 0xfe]), None);
    }

    proptest! {
        #[test]
        fn encodes_as_json_does(text in any::<String>()) {
            prop_assert_eq!(encode(&text), serde_json::to_vec(&text).unwrap_or_default());
        }

        /// Of what may be a JSON string, written by whatever program.
        #[test]
        fn decodes_as_json_does(content in r#"(\\["\\/bfnrtu]|\\u00e9|[ -~\u{0}-\u{20}éあ🙂]){0,12}"#) {
            let encoded = format!("\"{content}\"");
            prop_assert_eq!(decode(encoded.clone()), serde_json::from_str(&encoded).ok());
        }

        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            let decoded = super::text(Value::Blob(encode(&text)));
            prop_assert_eq!(decoded.map(|decoded| decoded.to_string()), Some(text));
        }
    }
}
