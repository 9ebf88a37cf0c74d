//! Processor time of everybody: the programs, those who serve them, and the kernel's own threads.

/// What `/proc/stat` counts in, whatever the kernel's own tick is (USER_HZ).
const TICKS_PER_S: f64 = 100.0;

/// Seconds that all processors were busy, together, since boot. What a hypervisor took away is not among them.
pub(crate) fn busy_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|ticks| ticks.parse().unwrap()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq] = fields[..7] else { unreachable!("proc(5) has them") };
    (user + nice + system + irq + softirq) / TICKS_PER_S
}
