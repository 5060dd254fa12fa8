//! Rows that are inserted in the same way one after the other: one statement inserts many of them.

use smallvec::{SmallVec, smallvec};

use crate::core::operation::{BoundStatement, Results, StatementResult};
use crate::core::statements::{ROWS_AT_ONCE, Statement};
use crate::core::value::Value;

/// What is run as one statement: one, or as many as one statement inserts.
pub struct InsertGroup<'lists> {
    pub statement: Statement,
    statements: SmallVec<[&'lists BoundStatement; 1]>,
}

impl<'lists> InsertGroup<'lists> {
    /// The values of its parameters, in order.
    pub fn values(&self) -> impl Iterator<Item = &'lists Value> + Clone {
        self.statements.iter().flat_map(|bound| &bound.values)
    }
}

/// The statements that these lists come to.
pub fn group<'lists>(lists: &[&'lists [BoundStatement]]) -> Vec<InsertGroup<'lists>> {
    let mut groups = Vec::with_capacity(lists.len());
    let mut rest = lists;
    while let Some((list, others)) = rest.split_first() {
        if let Some((statement, inserts)) = inserts(rest) {
            groups.push(InsertGroup { statement, statements: inserts.iter().copied().flatten().collect() });
            rest = &rest[ROWS_AT_ONCE..];
        } else {
            groups.extend(alone(&[list]));
            rest = others;
        }
    }
    groups
}

/// The statements of these lists, each by itself.
pub fn alone<'lists>(lists: &[&'lists [BoundStatement]]) -> impl Iterator<Item = InsertGroup<'lists>> {
    lists
        .iter()
        .copied()
        .flatten()
        .map(|bound| InsertGroup { statement: bound.statement, statements: smallvec![bound] })
}

/// The next [`ROWS_AT_ONCE`] lists, if each is the same insert of one row, and the statement that inserts them all.
fn inserts<'all, 'lists>(
    lists: &'all [&'lists [BoundStatement]],
) -> Option<(Statement, &'all [&'lists [BoundStatement]])> {
    let [first] = lists.first()? else { return None };
    let many = first.statement.many()?;
    let lists = lists.get(..ROWS_AT_ONCE)?;
    let all_alike = lists.iter().all(|list| matches!(list, [bound] if bound.statement == first.statement));
    all_alike.then_some((many, lists))
}

/// What the groups' statements gave, by list and statement.
pub fn ungroup(
    lists: &[&[BoundStatement]],
    groups: &[InsertGroup<'_>],
    rows: Vec<StatementResult>,
) -> Vec<Results> {
    let mut rows = groups.iter().zip(rows).flat_map(|(group, rows)| {
        let count = group.statements.len();
        let one = || StatementResult { changes: 1, ..StatementResult::default() };
        let inserted = (1..count).map(move |_| one());
        let first = if count > 1 { one() } else { rows };
        std::iter::once(first).chain(inserted)
    });
    lists.iter().map(|list| rows.by_ref().take(list.len()).collect()).collect()
}
