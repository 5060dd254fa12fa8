//! Numbers as JavaScript writes them. The `reason` texts of the adaptive limiter contain numbers, and users
//! compare those texts.

/// `String(number)` for a finite, non-negative double: the shortest digits that read back, and an exponent below
/// 1e-6 and from 1e21 (ECMA-262, Number::toString).
pub fn to_string(number: f64) -> String {
    if number == 0.0 || (1e-6..1e21).contains(&number) {
        return format!("{number}");
    }
    let scientific = format!("{number:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => scientific,
    }
}

/// `number.toFixed(1)` for a finite, non-negative double. JavaScript rounds an exact tie up, Rust to even; with
/// one decimal, exact ties are the values that end in .25 or .75 and nothing else.
pub fn to_fixed_1(number: f64) -> String {
    let quarters = number * 4.0;
    if quarters.fract() == 0.0 && quarters.rem_euclid(2.0) == 1.0 {
        format!("{:.1}", (number * 10.0).ceil() / 10.0)
    } else {
        format!("{number:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_javascript_does() {
        assert_eq!(to_string(15.0), "15");
        assert_eq!(to_string(0.5), "0.5");
        assert_eq!(to_string(1000.0 / 60_000.0), "0.016666666666666666");
        assert_eq!(to_string(1.6e-7), "1.6e-7");
        assert_eq!(to_string(1e21), "1e+21");
    }

    #[test]
    fn rounds_ties_up_and_everything_else_to_the_nearest() {
        assert_eq!(to_fixed_1(1.25), "1.3");
        assert_eq!(to_fixed_1(1.75), "1.8");
        assert_eq!(to_fixed_1(1.15), "1.1");
        assert_eq!(to_fixed_1(1.0), "1.0");
        assert_eq!(to_fixed_1(2.5), "2.5");
        assert_eq!(to_fixed_1(1.44), "1.4");
    }
}
