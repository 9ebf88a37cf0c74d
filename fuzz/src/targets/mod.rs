//! The list of targets, and those that misbehave on purpose.

mod catalog;
mod control;
mod daemon;
mod drill;
mod format;
mod host;
mod json;
mod keys;
mod kms_answer;
mod kms_server;
mod local_kms;
mod snapshot;
mod volume;
mod words;

/// A decoder, or a few that belong together, and what must hold of them.
pub struct Target {
    pub name: &'static str,
    pub decode: fn(&[u8]),
    pub memory: Memory,
}

/// What a target may take at once.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Whatever the input is.
    base_bytes: usize,
    /// For each byte of the input: what is made of text may be larger than the text.
    per_byte: usize,
}

impl Memory {
    /// A record or two beside the input, and the words of an error.
    const SMALL: Self = Self { base_bytes: 64 << 10, per_byte: 64 };
    /// The same, of records that have a fixed length: a header area, a leaf.
    const RECORDS: Self = Self { base_bytes: 256 << 10, per_byte: 64 };
    /// A request to a server, or a file that is written first.
    const MEDIUM: Self = Self { base_bytes: 2 << 20, per_byte: 256 };

    /// The same with a server or a client that may be made first.
    const WITH_PARTY: Self = Self { base_bytes: 16 << 20, per_byte: 256 };

    pub(crate) fn limit_bytes(self, input_len: usize) -> usize {
        self.base_bytes + self.per_byte * input_len
    }
}

const fn target(name: &'static str, decode: fn(&[u8]), memory: Memory) -> Target {
    Target { name, decode, memory }
}

/// Each has a folder of its name in `corpus/`.
pub static TARGETS: [Target; 30] = [
    target("superblock", format::superblock, Memory::RECORDS),
    target("headers", format::headers, Memory::RECORDS),
    target("header_backup", format::header_backup, Memory::RECORDS),
    target("lifecycle", format::lifecycle, Memory::SMALL),
    target("allocation_map", volume::allocation_map, Memory { base_bytes: 2 << 20, per_byte: 64 }),
    target("change_map", volume::change_map, Memory::SMALL),
    target("catalog_records", catalog::records, Memory::SMALL),
    target("events", catalog::events, Memory::MEDIUM),
    target("snapshot_manifest", snapshot::manifest, Memory::MEDIUM),
    target("snapshot_root", snapshot::root, Memory::SMALL),
    target("snapshot_leaf", snapshot::leaf, Memory::RECORDS),
    target("snapshot_pack", snapshot::pack, Memory::RECORDS),
    target("snapshot_marker", snapshot::marker, Memory::MEDIUM),
    target("snapshot_chunk", snapshot::chunk, Memory { base_bytes: 1 << 20, per_byte: 16 }),
    target("unwrap_helper", daemon::unwrap_helper, Memory::MEDIUM),
    target("control_socket", daemon::control_socket, Memory::SMALL),
    target("metrics_request", daemon::metrics_request, Memory::SMALL),
    target("host_child", host::child, Memory::SMALL),
    target("kernel_tables", host::kernel_tables, Memory::MEDIUM),
    target("drill", drill::drill, Memory::SMALL),
    target("words", words::words, Memory::SMALL),
    target("kms_answer", kms_answer::answer, Memory::WITH_PARTY),
    target("kms_request", kms_server::request, Memory::WITH_PARTY),
    target("kms_head", kms_server::head, Memory::WITH_PARTY),
    target("kms_form", kms_server::form, Memory::WITH_PARTY),
    target("kms_order", kms_server::order, Memory::WITH_PARTY),
    target("kms_policy", local_kms::policy, Memory::MEDIUM),
    target("kms_ciphertext", local_kms::ciphertext, Memory::SMALL),
    target("kms_records", local_kms::records, Memory::SMALL),
    target("kms_audit_log", local_kms::audit_log, Memory::MEDIUM),
];

/// They show that whoever runs the targets notices.
static CONTROLS: [Target; 3] = [
    target("control_panic", control::panic, Memory::SMALL),
    target("control_allocation", control::allocation, Memory::SMALL),
    target("control_hang", control::hang, Memory::SMALL),
];

/// By its name; also one of those that misbehave.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().chain(&CONTROLS).find(|target| target.name == name)
}
