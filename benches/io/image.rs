//! What applications see of the image alone: fio with O_DIRECT.

use crate::Setting;
use crate::arguments::Level;
use crate::contender::Contender;
use crate::fio::{self, How, Job};
use crate::place::{Kind, Place};
use crate::rounds::{Row, Unit, round_robin};
use crate::served;

fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for size in ["4k", "16k"] {
        for direction in ["read", "write"] {
            for depth in [1, 4, 32] {
                let options = format!("--rw=rand{direction} --bs={size} --iodepth={depth}");
                jobs.push(Job::new(format!("{size}-rand{direction}-qd{depth}"), Unit::RequestsPerS, &options));
            }
        }
    }
    for size in ["128k", "1m"] {
        for direction in ["read", "write"] {
            let options = format!("--rw={direction} --bs={size} --iodepth=8");
            jobs.push(Job::new(format!("{size}-{direction}-qd8"), Unit::MbPerS, &options));
        }
    }
    jobs.push(Job::new("8k-randwrite-fsync", Unit::RequestsPerS, "--rw=randwrite --bs=8k --iodepth=1 --fsync=1"));
    jobs.push(Job::new("4k-mixed-qd32", Unit::RequestsPerS, "--rw=randrw --rwmixread=70 --bs=4k --iodepth=32"));
    jobs
}

pub(crate) fn measure(setting: &Setting, place: &Place, contenders: &[Contender]) -> Vec<Row> {
    let arguments = &setting.arguments;
    let jobs: Vec<Job> = jobs().into_iter().filter(|job| arguments.wants(&job.name)).collect();
    let mut images = Vec::new();
    for contender in contenders {
        eprintln!("image, {}: {contender} is made", place.kind);
        let served = served::serve(*contender, setting, place, arguments.size << 20);
        if *contender != Contender::NoStore && !arguments.sparse {
            fio::fill(&served.image);
        }
        images.push(served);
    }
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    let label = format!("image, {}", place.kind);
    let keep_caches = !arguments.uncached || place.kind == Kind::Tmpfs;
    let samples = round_robin(&label, arguments.rounds, &names, contenders, |job, contender, round| {
        let how = How { seconds: arguments.seconds, round, keep_caches };
        fio::measure(&jobs[job], &images[contender].image, how)
    });
    let rows = jobs.iter().zip(samples).map(|(job, samples)| Row {
        place: place.kind,
        level: Level::Image,
        job: job.name.clone(),
        unit: job.unit,
        measured: contenders.iter().copied().zip(samples).collect(),
    });
    rows.collect()
}
