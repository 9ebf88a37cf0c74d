//! `envol list`.

use serde_json::json;

use super::error::CliError;
use super::output::Output;
use super::quantity::size;
use super::status;
use crate::catalog::{self, Root};
use crate::daemon::finish_interrupted;

pub(super) fn run(root: &Root, output: &Output) -> Result<(), CliError> {
    let summaries = catalog::list(root)?;
    summaries.iter().for_each(|summary| finish_interrupted(&root.volume(&summary.volume_id)));
    let volumes: Vec<_> =
        summaries.into_iter().map(|summary| status::merged(&root.volume(&summary.volume_id), summary)).collect();
    let mut text = format!("{:<25} {:<10} {:>8}  {:<24} {}\n", "VOLUME", "STATE", "SIZE", "DATABASE", "MOUNTED ON");
    for volume in &volumes {
        let bytes = volume.on_disk.size_bytes.map_or_else(|| "?".to_owned(), size);
        let database = volume.on_disk.db_id.as_deref().unwrap_or("?");
        let mounted = volume.live.as_ref().and_then(|live| live.mount_point.as_deref()).unwrap_or("-");
        text += &format!(
            "{:<25} {:<10} {bytes:>8}  {database:<24} {mounted}\n",
            volume.on_disk.volume_id.as_str(),
            volume.on_disk.state
        );
    }
    if volumes.is_empty() {
        text = format!("no volumes under {}\n", root.path().display());
    }
    let objects: Vec<_> = volumes.iter().map(status::Merged::to_json).collect();
    output.print(&text, &json!({ "volumes": objects }))
}
