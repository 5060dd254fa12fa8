//! Rows that are inserted in the same way one after the other: one statement inserts many of them.

use smallvec::{SmallVec, smallvec};

use crate::core::plan::{PlanRows, Step, StepRows};
use crate::core::schema::{ROWS_AT_ONCE, Statement};
use crate::core::value::Value;

/// What is run as one statement: a step, or as many as one statement inserts.
pub struct Group<'plans> {
    /// The statement.
    pub statement: Statement,
    steps: SmallVec<[&'plans Step; 1]>,
}

impl<'plans> Group<'plans> {
    /// The values of its parameters, in order.
    pub fn values(&self) -> impl Iterator<Item = &'plans Value> + Clone {
        self.steps.iter().flat_map(|step| &step.values)
    }
}

/// The statements that plans come to.
pub fn group<'plans>(plans: &[&'plans [Step]]) -> Vec<Group<'plans>> {
    let mut groups = Vec::with_capacity(plans.len());
    let mut rest = plans;
    while let Some((plan, others)) = rest.split_first() {
        if let Some((statement, inserts)) = inserts(rest) {
            groups.push(Group { statement, steps: inserts.iter().copied().flatten().collect() });
            rest = &rest[ROWS_AT_ONCE..];
        } else {
            groups.extend(alone(&[plan]));
            rest = others;
        }
    }
    groups
}

/// The statements of plans, each by itself.
pub fn alone<'plans>(plans: &[&'plans [Step]]) -> impl Iterator<Item = Group<'plans>> {
    plans.iter().copied().flatten().map(|step| Group { statement: step.statement, steps: smallvec![step] })
}

/// The plans at the front that each insert one row in the same way, as many as one statement inserts, and that.
fn inserts<'all, 'plans>(plans: &'all [&'plans [Step]]) -> Option<(Statement, &'all [&'plans [Step]])> {
    let [first] = plans.first()? else { return None };
    let many = first.statement.many()?;
    let plans = plans.get(..ROWS_AT_ONCE)?;
    let all_alike = plans.iter().all(|plan| matches!(plan, [step] if step.statement == first.statement));
    all_alike.then_some((many, plans))
}

/// What the groups' statements gave, by plan and step.
pub fn ungroup(plans: &[&[Step]], groups: &[Group<'_>], rows: Vec<StepRows>) -> Vec<PlanRows> {
    let mut rows = groups.iter().zip(rows).flat_map(|(group, rows)| {
        let count = group.steps.len();
        let inserted = (1..count).map(|_| StepRows { rows: Vec::new(), changes: 1 });
        let first = if count > 1 { StepRows { rows: Vec::new(), changes: 1 } } else { rows };
        std::iter::once(first).chain(inserted)
    });
    plans.iter().map(|plan| rows.by_ref().take(plan.len()).collect()).collect()
}
