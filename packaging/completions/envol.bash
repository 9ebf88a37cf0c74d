# shellcheck shell=bash
# Completions of envol(1), for /usr/share/bash-completion/completions/envol. The program knows its verbs, options, volumes and
# snapshots; what is sourced here only asks it.
# shellcheck source=/dev/null
. <(ENVOL_COMPLETE=bash envol 2>/dev/null)
