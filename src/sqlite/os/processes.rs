//! What the system shows of processes, in `/proc`. Where there is none, nothing is known.

use std::fs;

use once_cell::sync::Lazy;

use crate::core::dedupe::owner::Sight;

/// The namespace of clocks that is there from the boot on (`PROC_TIME_INIT_INO`, linux/include/linux/proc_ns.h). In others
/// the same process seems to have begun at another time.
const FIRST_TIME_NAMESPACE: &str = "time:[4026531834]";

/// The state of a process (a letter), and when it began, in ticks since the boot: fields 3 and 22 of `stat`
/// (man 5 proc_pid_stat).
fn state_and_start(stat: &str) -> Option<(&str, u64)> {
    // The name may have blanks and brackets in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The `stat` of a process's main thread, which starts with it. Not `/proc/<pid>/stat`: QEMU's user-mode emulation makes that
/// up for the process itself, and others see the real one.
fn read_stat(pid: u32) -> std::io::Result<String> {
    let stat = fs::read(format!("/proc/{pid}/task/{pid}/stat"))?;
    Ok(String::from_utf8_lossy(&stat).into_owned())
}

/// What tells this process from all others: `boot namespace pid start`.
pub fn this() -> Option<&'static str> {
    static THIS: Lazy<Option<String>> = Lazy::new(|| {
        let pid = std::process::id();
        // Not of a `/proc` of another namespace.
        if fs::read_link("/proc/self").ok()?.to_str() != Some(&pid.to_string()) {
            return None;
        }
        let stat = read_stat(pid).ok()?;
        let link = |name: &str| Some(fs::read_link(format!("/proc/self/ns/{name}")).ok()?.to_str()?.to_owned());
        if link("time").is_some_and(|namespace| namespace != FIRST_TIME_NAMESPACE) {
            return None;
        }
        let namespace = link("pid")?;
        let namespace = namespace.strip_prefix("pid:[")?.strip_suffix(']')?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let (_, start) = state_and_start(&stat)?;
        Some(format!("{} {namespace} {pid} {start}", boot.trim()))
    });
    THIS.as_deref()
}

/// What there is to be seen of a process.
pub fn look(pid: u32) -> Sight {
    match read_stat(pid) {
        Ok(stat) => state_and_start(&stat).map_or(Sight::Hidden, |(state, start)| Sight::Present {
            start,
            has_ended: matches!(state, "Z" | "X" | "x"),
        }),
        Err(_) if is_absent(pid) => Sight::Absent,
        Err(_) => Sight::Hidden,
    }
}

/// Whether there is no such process: one that `/proc` hides (`hidepid`) is there.
#[cfg(unix)]
fn is_absent(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: no signal is sent, only checked.
    let answer = unsafe { libc::kill(pid, 0) };
    answer != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

#[cfg(not(unix))]
fn is_absent(_pid: u32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let rest = (4..=21).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        let stat = format!("7 (a) S (b c) Z {rest} 12345 0\n");
        assert_eq!(state_and_start(&stat), Some(("Z", 12_345)));
        for broken in ["", "7 (a", "7 (a) S", "7 (a) S 1 2 3"] {
            assert_eq!(state_and_start(broken), None);
        }
    }
}
