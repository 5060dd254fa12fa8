//! Whose a lease is: a store's UUID and, where the system shows it, the store's process, as `uuid boot namespace pid start`.
//! What another process of the same boot and namespace has left when it ended need not wait for its lease to run out.

/// What the system shows of a process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing that could be told from a process that is hidden.
    Hidden,
    /// There is no such process.
    Absent,
    /// One that began then. A zombie has ended.
    Present { start: u64, has_ended: bool },
}

#[derive(PartialEq, Eq)]
struct Process<'owner> {
    boot: &'owner str,
    namespace: &'owner str,
    pid: u32,
    start: u64,
}

/// What does not parse is judged by its lease alone.
fn process_of(owner: &str) -> Option<Process<'_>> {
    let mut parts = owner.split(' ').skip(1);
    let [boot, namespace] = [parts.next()?, parts.next()?];
    let process = Process { boot, namespace, pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? };
    let is_whole = parts.next().is_none() && process.pid > 0 && !boot.is_empty() && !namespace.is_empty();
    is_whole.then_some(process)
}

/// Whether the process of an owner is another than `own`'s, and can be seen from there.
pub fn are_neighbours(own: &str, owner: &str) -> bool {
    let (Some(own), Some(other)) = (process_of(own), process_of(owner)) else { return false };
    other != own && other.boot == own.boot && other.namespace == own.namespace
}

/// Whether the process of an owner is gone, from what is seen of its id.
pub fn has_ended(owner: &str, look: impl FnOnce(u32) -> Sight) -> bool {
    process_of(owner).is_some_and(|process| match look(process.pid) {
        Sight::Hidden => false,
        Sight::Absent => true,
        Sight::Present { start, has_ended } => has_ended || start != process.start,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "uuid boot 42 7 100";

    #[test]
    fn others_of_the_same_boot_and_namespace_are_neighbours() {
        assert!(are_neighbours(OWN, "other boot 42 8 100"));
        assert!(are_neighbours(OWN, "other boot 42 7 99"), "one that had the same id");
        for hidden in [
            OWN,
            "other boot 42 7 100",
            "other later 42 8 100",
            "other boot 43 8 100",
            "other",
            "",
            "other boot 42 8",
            "other boot 42 8 100 more",
            "other boot 42 0 100",
            "other boot 42 -8 100",
            "other boot 42 99999999999 100",
            "other boot 42 8 start",
            "other  42 8 100",
        ] {
            assert!(!are_neighbours(OWN, hidden), "{hidden:?}");
        }
        assert!(!are_neighbours("uuid", "other boot 42 8 100"), "it does not know where it is");
    }

    #[test]
    fn what_is_seen_decides() {
        let live = Sight::Present { start: 100, has_ended: false };
        for (sight, gone) in [
            (live, false),
            (Sight::Hidden, false),
            (Sight::Absent, true),
            (Sight::Present { start: 100, has_ended: true }, true),
            (Sight::Present { start: 101, has_ended: false }, true),
        ] {
            assert_eq!(has_ended(OWN, |_| sight), gone, "{sight:?}");
            assert!(!has_ended("uuid", |_| sight));
        }
    }
}
