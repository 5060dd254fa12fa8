//! Parameters by position, which every driver binds.

/// Rewrites `?1`, `?2`, … as it is told for each value; answers which value stands for each `?` that is left.
pub fn anonymous_parameters(sql: &str, spelling: impl Fn(usize) -> &'static str) -> (String, Vec<usize>) {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut parameters = Vec::new();
    // Either all have numbers or none has.
    for (position, part) in parts.enumerate() {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let parameter = number.parse::<usize>().map_or(position, |number| number.saturating_sub(1));
        let spelling = spelling(parameter);
        if spelling.contains('?') {
            parameters.push(parameter);
        }
        text.push_str(spelling);
        text.push_str(rest);
    }
    (text, parameters)
}
