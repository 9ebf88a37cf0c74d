# Completions of envol(1), for a vendor_completions.d. The program knows its verbs, options, volumes and snapshots; what is
# sourced here only asks it.
ENVOL_COMPLETE=fish envol 2>/dev/null | source
