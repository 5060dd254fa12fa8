//! The statements' texts as they are sent to a server. The wire carries no number that is not finite, in either direction, and no
//! answer of any size.

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::parameters::anonymous_parameters;
use crate::core::operation::BoundStatement;
use crate::core::statements::Statement;
use crate::core::value::Value;

/// What stands for infinity in an answer: the first bytes of the double. Nothing that is stored as JSON begins so.
const INFINITY: [u8; 2] = [0x7f, 0xf0];
const NEGATIVE_INFINITY: [u8; 2] = [0xff, 0xf0];

/// The parameter that says up to how many bytes of a value are answered: no statement has as many.
const BOUND: usize = 99;

/// A text with parameters `?`, and which value stands for each; `None`: how many bytes of a value are answered.
#[derive(Debug)]
pub struct Text {
    pub sql: String,
    pub parameters: Vec<Option<usize>>,
}

/// Texts that were made before.
#[derive(Default)]
pub struct Texts(HashMap<(Statement, u64), Rc<Text>, RandomState>);

impl Texts {
    /// That of a statement with its values: those that are not finite stand in it.
    pub fn of(&mut self, BoundStatement { statement, values }: &BoundStatement) -> Rc<Text> {
        let literals = values.iter().rev().fold(0, |all, value| all << 2 | literal_number(value));
        let text = self.0.entry((*statement, literals)).or_insert_with(|| {
            let (sql, parameters) = anonymous_parameters(&sent(*statement), |index| {
                values.get(index).map_or("?", |value| SPELLINGS[literal_number(value) as usize])
            });
            let parameter = |number| if number == BOUND - 1 { None } else { Some(number) };
            Rc::new(Text { sql, parameters: parameters.into_iter().map(parameter).collect() })
        });
        Rc::clone(text)
    }
}

/// What stands in a text for a value.
const SPELLINGS: [&str; 4] = ["?", "9e999", "-9e999", "NULL"];

fn literal_number(value: &Value) -> u64 {
    match value {
        Value::Real(real) if real.is_nan() => 3,
        Value::Real(real) if real.is_infinite() => 1 + u64::from(real.is_sign_negative()),
        _ => 0,
    }
}

/// An expression for a column, such that its answers are finite.
fn finite(column: &str) -> String {
    format!(
        "CASE WHEN typeof({column}) = 'real' AND abs({column}) = 9e999 THEN CASE WHEN {column} > 0 THEN x'7ff0' \
         ELSE x'fff0' END ELSE {column} END"
    )
}

fn sent(statement: Statement) -> String {
    let sql = statement.sql();
    let bounded = |column: &str| {
        let answer = format!("CASE WHEN length({column}) > ?{BOUND} THEN length({column}) ELSE {column} END AS");
        sql.replacen(&format!("{column} AS"), &answer, 1)
    };
    let sql = match statement {
        Statement::CacheGet => bounded("value"),
        Statement::DedupeJob | Statement::DedupePoll => bounded("j.result"),
        Statement::CacheDeleteTagged => {
            sql.replacen("RETURNING expires_at AS", &format!("RETURNING {} AS", finite("expires_at")), 1)
        }
        _ => sql.to_owned(),
    };
    if !sql.starts_with("SELECT") && !sql.starts_with("WITH") {
        return sql;
    }
    let column = |index| format!("{} AS c{index}", finite(&format!("c{index}")));
    let columns: Vec<String> = (0..statement.columns()).map(column).collect();
    // Of its own, so that nothing is computed twice.
    format!("WITH answer AS MATERIALIZED ({sql}) SELECT {} FROM answer", columns.join(", "))
}

/// The value that an answered one stands for.
pub fn received(value: Value) -> Value {
    match value {
        Value::Blob(bytes) if bytes == INFINITY => Value::Real(f64::INFINITY),
        Value::Blob(bytes) if bytes == NEGATIVE_INFINITY => Value::Real(f64::NEG_INFINITY),
        value => value,
    }
}
