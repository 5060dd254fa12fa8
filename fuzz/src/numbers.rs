//! Numbers, names and times, mostly those at which something changes.

use std::ops::RangeInclusive;

use arbitrary::{Arbitrary, Result, Unstructured};

/// When calls are made, unless an input says otherwise.
pub const NOW: f64 = 1_767_225_600_000.0;

const LANDMARKS: [f64; 28] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    5e-324,
    f64::MIN_POSITIVE,
    999.0,
    1_000.0,
    60_000.0,
    3_600_000.0,
    2_147_483_647.0,
    2_147_483_648.0,
    4_294_967_296.0,
    8.64e15,
    -8.64e15,
    9_007_199_254_740_991.0,
    9_007_199_254_740_993.0,
    9_223_372_036_854_775_807.0,
    -9_223_372_036_854_775_808.0,
    1.8e19,
    1e30,
    f64::MAX,
    f64::MIN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    NOW,
];

/// Any number but NaN.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f64);

impl<'a> Arbitrary<'a> for Number {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let number = match input.int_in_range(0..=4)? {
            0 => NOW,
            1 => *input.choose(&LANDMARKS)?,
            2 => NOW + f64::from(i32::arbitrary(input)?) / 16.0,
            3 => f64::from(i16::arbitrary(input)?),
            _ => f64::from_bits(u64::arbitrary(input)?),
        };
        Ok(Number(if number.is_nan() { 0.0 } else { number }))
    }
}

impl Number {
    /// A span, as options take it: infinity is one that never ends.
    pub fn span(self) -> f64 {
        self.0.abs()
    }

    /// A span of which infinity means never, as 0 does.
    pub fn span_or_never(self) -> f64 {
        if self.0.is_infinite() { 0.0 } else { self.span() }
    }

    pub fn positive(self) -> f64 {
        self.span().max(5e-324)
    }

    pub fn finite(self) -> f64 {
        self.0.clamp(f64::MIN, f64::MAX)
    }
}

/// A short list.
pub fn list<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>, lengths: RangeInclusive<usize>) -> Result<Vec<T>> {
    let length = input.int_in_range(lengths)?;
    (0..length).map(|_| T::arbitrary(input)).collect()
}

/// A name: few, so that calls and rows meet.
#[derive(Clone, Copy, Debug)]
pub struct Name(pub &'static str);

/// Owners of leases: nobody, one without a process, one of a process that has ended, the store itself.
pub const OWNERS: [&str; 5] = [
    "",
    "store",
    "0b6ff0f0-0000-4000-8000-000000000000",
    "0b6ff0f0-0000-4000-8000-000000000000 boot 4026531836 4294967295 1",
    "0b6ff0f0-0000-4000-8000-000000000001 boot 4026531836 1 18446744073709551615",
];

impl<'a> Arbitrary<'a> for Name {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        const NAMES: [&str; 7] = ["a", "b", "", "\0", "a\0", "\u{e9}\u{10ffff}", "a 1"];
        Ok(Name(input.choose(&NAMES)?))
    }
}
