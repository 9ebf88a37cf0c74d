//! Work that gives way to other work.

/// Far enough below what a database has, and not so far that a busy host never comes to it. See nice(2).
const NICE: i32 = 19;

/// This thread, and those that it starts from now on: on Linux a thread has a niceness of its own, and inherits it.
pub fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!("a thread keeps its priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_started_gives_way_as_well_and_others_do_not() {
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = nice();
        let started = std::thread::spawn(move || {
            give_way();
            std::thread::spawn(nice).join().unwrap()
        });
        assert_eq!(started.join().unwrap(), NICE.max(before));
        assert_eq!(nice(), before);
    }
}
