//! What is said of the key in a day, on a clock that is moved on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms_client::Answer;
use tokio::time::{Instant, timeout};

use super::super::{Heartbeat, KeyGuardian, Transition};
use super::{Extended, Script};

/// Lines that were logged, as the daemon's log has them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// What the thread logs at `level` while the guard lives.
    fn start(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> usize {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().count()
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// A day of guardian and heartbeat.
async fn a_day(script: &Script) {
    let heartbeat = Heartbeat {
        probe_interval: Duration::from_secs(10),
        probes: Arc::clone(&script.probes),
        lease: Box::new(Extended(Arc::default())),
    };
    let guardian = script.guardian();
    let both = async { tokio::join!(guardian.watch(), heartbeat.beat()) };
    assert!(timeout(DAY, both).await.is_err(), "nothing was revoked");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_serving_logs_nothing_and_each_probe_only_when_asked_for_everything() {
    let script = Script::default();
    let (log, guard) = Log::start(tracing::Level::INFO);
    a_day(&script).await;
    drop(guard);
    assert!(script.asked() >= 8640, "{} probes in a day", script.asked());
    assert_eq!((log.lines(), script.heard.lock().unwrap().len()), (0, 0));

    let script = Script::default();
    let (log, _guard) = Log::start(tracing::Level::DEBUG);
    a_day(&script).await;
    assert_eq!(log.lines(), script.asked());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_said_at_once_each_minute_of_an_hour_then_each_quarter_and_its_end() {
    for answer in [Answer::Unreachable, Answer::Disabled] {
        // A no that is not believed is an outage, too.
        let impostor = answer == Answer::Disabled;
        let script = Script { impostor, ..Script::new(std::iter::repeat_n(Err(answer), 1_000_000)) };
        let (log, _guard) = Log::start(tracing::Level::INFO);
        let guardian = script.guardian();
        let (said_at, began) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let guardian = KeyGuardian {
            transitions: {
                let said_at = Arc::clone(&said_at);
                Box::new(move |transition| said_at.lock().unwrap().push((began.elapsed(), transition)))
            },
            ..guardian
        };
        assert!(timeout(DAY, guardian.watch()).await.is_err(), "an outage is not a revocation");
        {
            let said = said_at.lock().unwrap();
            assert!(matches!(said[0], (at, Transition::Unverified(_)) if at.is_zero()));
            assert!(said[1..].iter().all(|(_, said)| matches!(said, Transition::StillUnverified { .. })));
            assert!(said.windows(2).all(|pair| pair[1].0 - pair[0].0 >= Duration::from_secs(60)));
            let in_the_first_hour = said.iter().filter(|(at, _)| *at <= Duration::from_secs(3600)).count();
            assert!((45..=61).contains(&in_the_first_hour), "{in_the_first_hour}");
            assert!(said.len() - in_the_first_hour <= 23 * 4, "{} in a day", said.len());
            assert!(said.len() > in_the_first_hour + 80, "{} in a day", said.len());
        }
        script.answers.lock().unwrap().clear();
        assert!(timeout(Duration::from_secs(30), guardian.watch()).await.is_err());
        assert!(matches!(said_at.lock().unwrap().last(), Some((_, Transition::Verified(_)))));
        assert_eq!(log.lines(), 0, "what is said is said by transitions alone");
    }
}
